// The device's views and options as the parameters of kernels. What a function's arguments do not
// say is left to its caller.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "engine/device/device.h"
#include "engine/device/tensor.h"
#include "kernels/attention.h"
#include "kernels/context_pool.h"
#include "kernels/embedding.h"
#include "kernels/im2col.h"
#include "kernels/layer_norm.h"
#include "kernels/linear.h"
#include "kernels/patch_tokens.h"
#include "kernels/pool.h"

namespace contextpool::engine {

kernels::EmbeddingParams EmbeddingParamsOf(const TensorView& ids, const Sequences& sequences,
                                           const EmbeddingTables& tables, const TensorView& out);

// Without bias and residual.
kernels::LayerNormParams LayerNormParamsOf(const TensorView& x, const LayerNormWeights& norm,
                                           const TensorView& out);

kernels::PatchTokensParams PatchTokensParamsOf(const TensorView& patches, const TensorView& table,
                                               const TensorView& out);

kernels::PoolParams PoolParamsOf(const TensorView& x, const kernels::PoolSegment* segments,
                                 const TensorView& out);

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

// Columns that a linear layer reads. INVALID_ARGUMENT if the sizes do not fit each other.
absl::StatusOr<int64_t> LinearInColumns(std::span<const float> weight, std::span<const float> bias,
                                        int64_t out_columns);

// The patches of x, [images, height, width, channels], without what is read (x or pixels), rows and
// out.
kernels::Im2ColParams PatchesOf(const TensorView& x, const kernels::Window& window);

// Without the weight, the bias, and what is done with the product.
kernels::LinearParams LinearParamsOf(const TensorView& x, const LinearWeight& weight,
                                     const TensorView& out);

}  // namespace contextpool::engine
