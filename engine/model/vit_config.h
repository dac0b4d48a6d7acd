// config.json of ViT, DeiT and DINOv2 as a checked value.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/image_config.h"
#include "engine/model/readout.h"
#include "engine/model/transformer_config.h"

namespace contextpool::engine {

// What a model does where it reads images of another size than its position embeddings are for.
enum class PositionResize : uint8_t {
  kNone,
  // PyTorch's bicubic interpolation, without and with antialiasing.
  kBicubic,
  kBicubicAntialiased,
};

struct VitConfig : TransformerConfig {
  // The image that the position embeddings are for. Holds at least one patch.
  ImageSize image;
  // Side of a patch.
  int32_t patch_size = 0;
  // Tokens before the patches: the class token, a distillation token, registers.
  bool distilled = false;
  int32_t registers = 0;
  bool qkv_bias = true;
  bool layer_scale = false;
  PositionResize position_resize = PositionResize::kNone;
  // What the classifier multiplies.
  std::vector<ReadoutPart> classifier_parts = {{}};
  // Whether an encoder's pooler, if the checkpoint has one, is tanh(W x + b) of hidden_size.
  bool pools_with_tanh = true;
  // Two classifiers, one per part, whose logits are averaged; not one for all parts together.
  bool averages_classifiers = false;

  int32_t prefix() const { return 1 + (distilled ? 1 : 0) + registers; }
  // Rows and columns of an image's patches: whole ones only.
  ImageSize GridOf(const ImageSize& size) const {
    return {size.height / patch_size, size.width / patch_size};
  }
};

// Whether the image makes patches, and not too many. INVALID_ARGUMENT.
absl::Status CheckGrid(const VitConfig& config, const ImageSize& image);

// `json` is the content of a config.json. INVALID_ARGUMENT names the key at fault; what this build
// does not compute (another architecture, activation or number of channels) is UNIMPLEMENTED and
// named.
absl::StatusOr<VitConfig> ParseVitConfig(absl::string_view json);

}  // namespace contextpool::engine
