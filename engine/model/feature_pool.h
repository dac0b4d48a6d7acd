// ContextPool in place of one of a ConvNet's pooling layers: docs/contextpool.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/device/arena.h"
#include "engine/device/device.h"

namespace contextpool::engine {

class FeaturePool {
 public:
  // `options` say the grid of the feature maps that it reads, [positions, channels] each, and its
  // outputs. Calls with up to `expected_images` do not allocate.
  FeaturePool(const ContextPoolOptions& options, ContextPoolWeights weights, int64_t positions,
              int64_t channels, int64_t expected_images, Device& device);

  // Bytes of arena that Run needs.
  size_t WorkspaceBytes(int64_t images) const;

  // features is [images * positions, channels], out [images * outputs, channels]; support becomes
  // what it chose, [2, images * positions] as Device::ContextPoolSupport says. `tiles`: added to;
  // null: not counted. Until the device is synchronised only calls with as many images or fewer may
  // follow.
  void Run(const TensorView& features, const TensorView& support, kernels::ContextPoolTiles* tiles,
           const TensorView& out, Arena& workspace);

 private:
  const ContextPoolOptions options_;
  const ContextPoolWeights weights_;
  const int64_t positions_;
  const int64_t channels_;
  Device& device_;
  // Where each image begins. What is copied to the device must outlive the copy.
  std::vector<int32_t> cu_lengths_;
};

}  // namespace contextpool::engine
