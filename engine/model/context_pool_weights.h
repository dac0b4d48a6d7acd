// From a checkpoint's tensors to one place's ContextPool: what BERT, ViT and ResNet share.
#pragma once

#include <cstdint>
#include <string>

#include "engine/device/device.h"
#include "engine/model/weight_loader.h"

namespace contextpool::engine {

// Reads what `options` say there is of these, the kernels square where there is a grid:
//
//   NAMEconv1.weight [bottleneck, columns, k] or [bottleneck, columns, k, k], NAMEconv1.bias
//   NAMEconv2.weight [2, bottleneck, k] or [2, bottleneck, k, k], NAMEconv2.bias
//   NAMEgamma [1]
//
// `columns`: of what is pooled. Errors are the loader's.
ContextPoolWeights LoadContextPool(WeightLoader& loader, const std::string& name, int64_t columns,
                                   const ContextPoolOptions& options);

}  // namespace contextpool::engine
