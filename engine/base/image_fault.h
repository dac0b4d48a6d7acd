// Why an image was refused: carried inside absl::Status, for the metrics.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace contextpool::engine {

// kDamaged: malformed or cut short, or of a kind of coding that is not decoded here.
enum class ImageFault : uint8_t { kTooLarge, kNoImage, kDamaged };
inline constexpr std::array<std::pair<ImageFault, const char*>, 3> kImageFaults = {{
    {ImageFault::kTooLarge, "too_large"},
    {ImageFault::kNoImage, "no_image"},
    {ImageFault::kDamaged, "damaged"},
}};

// INVALID_ARGUMENT for one of the first two.
absl::Status ImageError(ImageFault fault, absl::string_view message);
// Of an error that names none: kDamaged.
ImageFault FaultOf(const absl::Status& status);

}  // namespace contextpool::engine
