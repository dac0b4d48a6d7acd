// The device's views and options as the parameters of the CPU kernels. What a function's arguments
// do not say is left to its caller.
#pragma once

#include "engine/device/device.h"
#include "engine/device/tensor.h"
#include "kernels/attention.h"
#include "kernels/context_pool.h"
#include "kernels/embedding.h"
#include "kernels/linear.h"

namespace contextpool::engine {

kernels::EmbeddingParams EmbeddingParamsOf(const TensorView& ids, const Sequences& sequences,
                                           const EmbeddingTables& tables, const TensorView& out);

// Without workspace.
kernels::AttentionParams AttentionParamsOf(const TensorView& qkv, const Sequences& sequences,
                                           const AttentionShape& shape, const TensorView& out);

kernels::ContextPoolSupportParams SupportParamsOf(const TensorView& taps,
                                                  const Sequences& sequences,
                                                  const ContextPoolOptions& options,
                                                  const ContextPoolWeights& weights,
                                                  const TensorView& support);

// Without gate, workspace and tiles.
kernels::ContextPoolParams ContextPoolParamsOf(const TensorView& x, const TensorView& support,
                                               const Sequences& sequences,
                                               const ContextPoolOptions& options,
                                               const TensorView& out);

// Without the weight, the bias, and what is done with the product.
kernels::LinearParams LinearParamsOf(const TensorView& x, const LinearWeight& weight,
                                     const TensorView& out);

}  // namespace contextpool::engine
