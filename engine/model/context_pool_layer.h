// ContextPool as a layer computes it: the parameter network, then the pooling.
#pragma once

#include "engine/device/arena.h"
#include "engine/device/device.h"

namespace contextpool::engine {

// All as Device::ContextPoolSupport and Device::ContextPool have them.
struct ContextPoolCall {
  TensorView x;
  Sequences sequences;
  // Becomes what it chose.
  TensorView support;
  TensorView scratch;
  // Added to; null: not counted.
  kernels::ContextPoolTiles* tiles = nullptr;
  TensorView out;
};

// Counters on the device, 0 each.
kernels::ContextPoolTiles* NewContextPoolTiles(Device& device, Arena& workspace);

// Takes the parameter network's taps from `workspace` meanwhile.
void PoolContext(const ContextPoolCall& call, const ContextPoolOptions& options,
                 const ContextPoolWeights& weights, Device& device, Arena& workspace);

}  // namespace contextpool::engine
