#include "engine/device/cpu_params.h"

#include <cmath>

namespace contextpool::engine {

kernels::EmbeddingParams EmbeddingParamsOf(const TensorView& ids, const Sequences& sequences,
                                           const EmbeddingTables& tables, const TensorView& out) {
  return {.ids = ids.as<int32_t>(),
          .cu_lengths = sequences.cu_lengths.as<int32_t>(),
          .words = tables.words.data,
          .positions = tables.positions.data,
          .token_type = tables.token_type.data,
          .gamma = tables.norm.gamma.data,
          .beta = tables.norm.beta.data,
          .out = out.data,
          .dtype = out.dtype,
          .sequences = sequences.count(),
          .tokens = ids.shape[0],
          .columns = out.shape[1],
          .eps = tables.norm.eps};
}

kernels::AttentionParams AttentionParamsOf(const TensorView& qkv, const Sequences& sequences,
                                           const AttentionShape& shape, const TensorView& out) {
  return {.qkv = qkv.data,
          .cu_lengths = sequences.cu_lengths.as<int32_t>(),
          .out = out.data,
          .dtype = qkv.dtype,
          .sequences = sequences.count(),
          .max_length = sequences.max_length,
          .heads = shape.heads,
          .head_size = shape.head_size,
          .scale = 1.0f / std::sqrt(static_cast<float>(shape.head_size))};
}

kernels::ContextPoolSupportParams SupportParamsOf(const TensorView& taps,
                                                  const Sequences& sequences,
                                                  const ContextPoolOptions& options,
                                                  const ContextPoolWeights& weights,
                                                  const TensorView& support) {
  return {.taps = taps.data,
          .conv2_weight = weights.conv2_weight.as<float>(),
          .conv2_bias = weights.conv2_bias.as<float>(),
          .cu_lengths = sequences.cu_lengths.as<int32_t>(),
          .log_weight = support.as<float>(),
          .support_size = support.as<float>() + support.strides[0],
          .dtype = taps.dtype,
          .activation = options.activation,
          .weight = options.weight,
          .size = options.size,
          .fixed_size = options.fixed_size,
          .r = options.r,
          .fixed_n = options.fixed_n,
          .n_is_side = options.n_is_side,
          .sequences = sequences.count(),
          .prefix = options.prefix,
          .grid_width = options.grid_width,
          .kernel_size = options.kernel_size,
          .bottleneck = options.bottleneck,
          .taps_stride = taps.strides[0]};
}

kernels::ContextPoolParams ContextPoolParamsOf(const TensorView& x, const TensorView& support,
                                               const Sequences& sequences,
                                               const ContextPoolOptions& options,
                                               const TensorView& out) {
  return {.x = x.data,
          .log_weight = support.as<float>(),
          .support_size = support.as<float>() + support.strides[0],
          .cu_lengths = sequences.cu_lengths.as<int32_t>(),
          .out = out.data,
          .dtype = x.dtype,
          .normalization = options.normalization,
          .residual = options.residual,
          .sequences = sequences.count(),
          .max_length = sequences.max_length,
          .prefix = options.prefix,
          .grid_width = options.grid_width,
          .outputs = options.outputs,
          .columns = x.shape[1],
          .x_stride = x.strides[0],
          .out_stride = out.strides[0]};
}

kernels::LinearParams LinearParamsOf(const TensorView& x, const LinearWeight& weight,
                                     const TensorView& out) {
  return {.x = x.data,
          .out = out.data,
          .dtype = x.dtype,
          .rows = x.shape[0],
          .in_columns = weight.in_columns(),
          .out_columns = weight.out_columns(),
          .x_stride = x.strides[0],
          .out_stride = out.strides[0]};
}

}  // namespace contextpool::engine
