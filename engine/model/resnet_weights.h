// A ResNet's weights on a device, and the shapes of what they compute. Batch normalisation is
// folded into the convolutions.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/device/device.h"
#include "engine/model/checkpoint.h"
#include "engine/model/resnet_config.h"
#include "engine/model/weight_loader.h"

namespace contextpool::engine {

struct ResNetConvolution {
  // [out_channels, size * size * channels], in the order row, column, channel.
  std::unique_ptr<LinearWeight> weight;
  kernels::Window window;
};

// hidden = relu(convolutions(hidden) + shortcut(hidden)), relu between the convolutions too.
struct ResNetLayer {
  std::vector<ResNetConvolution> convolutions;
  // Unset: the input itself.
  std::optional<ResNetConvolution> shortcut;
};

// The classifier is null without labels.
struct ResNetWeights {
  ResNetConvolution stem;
  // In place of the max pooling after the stem, of the average of the last feature map.
  std::optional<ContextPoolWeights> stem_pool;
  std::optional<ContextPoolWeights> final_pool;
  // Of all stages.
  std::vector<ResNetLayer> layers;
  std::unique_ptr<LinearWeight> classifier;
  WeightMemory memory;
};

// Errors name the tensor. Nothing is allocated by a size that the checkpoint does not confirm.
absl::StatusOr<ResNetWeights> LoadResNetWeights(const ResNetConfig& config,
                                                const Checkpoint& checkpoint, Device& device);

// The max pooling after the stem.
inline constexpr kernels::Window kStemPool = {.size = 3, .stride = 2, .padding = 1};

// A feature map of one image.
struct FeatureShape {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;

  int64_t positions() const { return height * width; }
};

// What becomes of a feature map of shape `in`.
FeatureShape After(const kernels::Window& window, int64_t channels, const FeatureShape& in);
FeatureShape After(const ResNetConvolution& convolution, const FeatureShape& in);

// Of the stem with its pooling, and of the last layer.
FeatureShape AfterStem(const ResNetWeights& weights, const FeatureShape& pixels);
FeatureShape LastFeatures(const ResNetWeights& weights, const FeatureShape& pixels);

}  // namespace contextpool::engine
