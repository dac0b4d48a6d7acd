// Why an image was refused: carried inside absl::Status, for the metrics.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace contextpool::engine {

// kWrongSize: not what the model takes, which neither resizes nor crops. kDamaged: malformed or cut
// short, or of a kind of coding that is not decoded here.
enum class ImageFault : uint8_t { kTooLarge, kNoImage, kWrongSize, kDamaged };
inline constexpr std::array<std::pair<ImageFault, const char*>, 4> kImageFaults = {{
    {ImageFault::kTooLarge, "too_large"},
    {ImageFault::kNoImage, "no_image"},
    {ImageFault::kWrongSize, "wrong_size"},
    {ImageFault::kDamaged, "damaged"},
}};

// INVALID_ARGUMENT that says so. REQUIRES: not kDamaged, which needs no saying.
absl::Status ImageError(ImageFault fault, absl::string_view message);
// Of an error that names none: kDamaged.
ImageFault FaultOf(const absl::Status& status);

}  // namespace contextpool::engine
