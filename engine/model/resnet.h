// ResNet image encoders: a convolution and a pooling layer, stages of residual layers, the average
// of the last feature map, classifier; with or without ContextPool in place of either pooling.
//
// He et al., "Deep Residual Learning for Image Recognition", 2015; tensors as Hugging Face's
// ResNetModel and ResNetForImageClassification name them. Feature maps are
// [images, height, width, channels].
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/device/arena.h"
#include "engine/device/device.h"
#include "engine/model/feature_pool.h"
#include "engine/model/model.h"
#include "engine/model/readout.h"
#include "engine/model/resnet_weights.h"

namespace contextpool::engine {

// Computes images in groups whose feature maps take a bounded amount of memory, at worst one by
// one. The tokens of an image are the positions of its last feature map; their mean, or ContextPool
// in its place, is the only pooling of embeddings. Of what ContextPool chose only that is told: in
// the stem there are other positions than tokens.
class ResNetModel final : public Model {
 public:
  // REQUIRES: info.image. `pools`: without grids and outputs. Batches of up to `expected_images`
  // are computed without allocating.
  ResNetModel(ModelInfo info, const ContextPoolOptions& pools, ResNetWeights weights,
              int64_t expected_images, Device& device);

  const ModelInfo& info() const override { return info_; }
  size_t WorkspaceBytes(const BatchLimits& limits) const override;
  absl::StatusOr<ModelOutput> Forward(const PackedBatch& batch, Arena& workspace) const override;

 private:
  struct Footprint;
  struct State;

  Footprint FootprintOf(int64_t images) const;
  int64_t GroupSize() const;
  TensorView RunImages(std::span<const uint8_t> pixels, int64_t images, Arena& workspace) const;
  void RunGroup(std::span<const uint8_t> pixels, int64_t images, void* features,
                Arena& workspace) const;
  void RunStem(std::span<const uint8_t> pixels, State& state, Arena& workspace) const;
  void RunLayer(const ResNetLayer& layer, void* out, State& state, Arena& workspace) const;
  TensorView PoolFinal(const TensorView& hidden, ModelOutput& output, Arena& workspace) const;

  const ModelInfo info_;
  Device& device_;
  // Of the last layer, for one image.
  const FeatureShape last_;
  // What Forward copies to the device must outlive the copy.
  mutable std::optional<FeaturePool> stem_pool_;
  mutable std::optional<FeaturePool> final_pool_;
  const ResNetWeights weights_;
  // What the largest convolution needs.
  const size_t convolution_bytes_;
  // Images that are computed together.
  const int64_t group_;

  mutable Readout readout_;
  // Where each image begins after the final pool: one row for each.
  mutable std::vector<int32_t> rows_;
};

}  // namespace contextpool::engine
