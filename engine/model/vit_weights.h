// A ViT's weights on a device.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/image_config.h"
#include "engine/device/device.h"
#include "engine/model/checkpoint.h"
#include "engine/model/transformer.h"
#include "engine/model/vit_config.h"
#include "engine/model/weight_loader.h"

namespace contextpool::engine {

struct VitWeights {
  // [hidden, patch_size * patch_size * 3], in the order row, column, channel.
  std::unique_ptr<LinearWeight> patches;
  // [prefix + patches, hidden]: prefix tokens and positions, added up.
  TensorView tokens;
  std::vector<TransformerLayer> layers;
  LayerNormWeights norm;
  // [hidden, hidden]; null without one.
  std::unique_ptr<LinearWeight> pooler;
  // [labels, parts * hidden]; null without labels.
  std::unique_ptr<LinearWeight> classifier;
  WeightMemory memory;
};

// For images that make `grid` patches. Errors name the tensor. Nothing is allocated by a size that
// the checkpoint does not confirm, but for the grid's, which CheckGrid bounds.
//
// REQUIRES: the grid of config.image, unless config.position_resize.
absl::StatusOr<VitWeights> LoadVitWeights(const VitConfig& config, ImageSize grid,
                                          const Checkpoint& checkpoint, Device& device);

}  // namespace contextpool::engine
