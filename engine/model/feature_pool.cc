#include "engine/model/feature_pool.h"

#include <utility>

#include "engine/model/context_pool_layer.h"

namespace contextpool::engine {

FeaturePool::FeaturePool(const ContextPoolOptions& options, ContextPoolWeights weights,
                         int64_t positions, int64_t channels, int64_t expected_images,
                         Device& device)
    : options_(options),
      weights_(std::move(weights)),
      positions_(positions),
      channels_(channels),
      device_(device),
      cu_lengths_(1, 0) {
  cu_lengths_.reserve(expected_images + 1);
}

size_t FeaturePool::WorkspaceBytes(int64_t images) const {
  const int64_t taps = weights_.conv1 != nullptr ? weights_.conv1->out_columns() : 0;
  return Arena::Padded((images + 1) * sizeof(int32_t)) +
         Arena::FloatBytes(images * positions_, taps) +
         Arena::Padded(device_.ContextPoolWorkspaceBytes(positions_, channels_));
}

void FeaturePool::Run(const TensorView& features, const TensorView& support,
                      kernels::ContextPoolTiles* tiles, const TensorView& out, Arena& workspace) {
  const size_t mark = workspace.used();
  const int64_t images = features.shape[0] / positions_;
  while (static_cast<int64_t>(cu_lengths_.size()) <= images) {
    cu_lengths_.push_back(cu_lengths_.back() + static_cast<int32_t>(positions_));
  }
  const Sequences sequences = {workspace.Tensor(DType::kI32, {images + 1}), positions_};
  device_.CopyToDevice(sequences.cu_lengths.data, cu_lengths_.data(), sequences.cu_lengths.bytes());
  const auto scratch =
      static_cast<int64_t>(device_.ContextPoolWorkspaceBytes(positions_, channels_));
  PoolContext({.x = features,
               .sequences = sequences,
               .support = support,
               .scratch = workspace.Tensor(DType::kU8, {scratch}),
               .tiles = tiles,
               .out = out},
              options_, weights_, device_, workspace);
  workspace.Rewind(mark);
}

}  // namespace contextpool::engine
