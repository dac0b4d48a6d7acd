// preprocessor_config.json of an image model.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/image_config.h"

namespace contextpool::engine {

// `json`: of an image processor that transformers calls ViT, DeiT, ConvNext (ResNet checkpoints use
// it) or Bit (DINOv2), slow or fast; what the Pillow form of it does is what the result says. Keys
// that are absent or null have the defaults of that processor.
// `model_reads`: the size that config.json gives; unset: the model reads any size.
// INVALID_ARGUMENT names the key: unknown keys, values out of range, images whose size would depend
// on the input or is not `model_reads`. UNIMPLEMENTED: another image processor.
absl::StatusOr<ImageConfig> ParseImageConfig(absl::string_view json,
                                             std::optional<ImageSize> model_reads);

}  // namespace contextpool::engine
