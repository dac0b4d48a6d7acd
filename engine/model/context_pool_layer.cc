#include "engine/model/context_pool_layer.h"

namespace contextpool::engine {

kernels::ContextPoolTiles* NewContextPoolTiles(Device& device, Arena& workspace) {
  static constexpr kernels::ContextPoolTiles kNone;
  auto* tiles = static_cast<kernels::ContextPoolTiles*>(workspace.Allocate(sizeof(kNone)));
  device.CopyToDevice(tiles, &kNone, sizeof(kNone));
  return tiles;
}

void PoolContext(const ContextPoolCall& call, const ContextPoolOptions& options,
                 const ContextPoolWeights& weights, Device& device, Arena& workspace) {
  const size_t mark = workspace.used();
  TensorView taps;
  if (weights.conv1 != nullptr) {
    taps = workspace.Tensor(device.dtype(), {call.x.shape[0], weights.conv1->out_columns()});
    device.Linear(call.x, *weights.conv1, kernels::Activation::kNone, taps);
  }
  device.ContextPoolSupport(taps, call.sequences, options, weights, call.support);
  device.ContextPool(call.x, call.support, call.sequences, options, weights, call.scratch,
                     call.tiles, call.out);
  workspace.Rewind(mark);
}

}  // namespace contextpool::engine
