#include "engine/device/op_params.h"

#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

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

kernels::LayerNormParams LayerNormParamsOf(const TensorView& x, const LayerNormWeights& norm,
                                           const TensorView& out) {
  return {.x = x.data,
          .gamma = norm.gamma.data,
          .beta = norm.beta.data,
          .out = out.data,
          .dtype = x.dtype,
          .rows = x.shape[0],
          .columns = x.shape[1],
          .x_stride = x.strides[0],
          .out_stride = out.strides[0],
          .eps = norm.eps};
}

kernels::PatchTokensParams PatchTokensParamsOf(const TensorView& patches, const TensorView& table,
                                               const TensorView& out) {
  const int64_t tokens = table.shape[0];
  return {.patches = patches.data,
          .table = table.data,
          .out = out.data,
          .dtype = out.dtype,
          .images = patches.shape[0],
          .tokens = tokens,
          .prefix = tokens - patches.shape[1] * patches.shape[2],
          .columns = out.shape[1]};
}

kernels::PoolParams PoolParamsOf(const TensorView& x, const kernels::PoolSegment* segments,
                                 const TensorView& out) {
  return {.x = x.data,
          .segments = segments,
          .out = out.data,
          .dtype = x.dtype,
          .out_dtype = out.dtype,
          .segment_count = out.shape[0],
          .columns = out.shape[1]};
}

kernels::AttentionParams AttentionParamsOf(const TensorView& qkv, const Sequences& sequences,
                                           const AttentionShape& shape, const TensorView& out) {
  return {.qkv = qkv.data,
          .cu_lengths = sequences.cu_lengths.as<int32_t>(),
          .out = out.data,
          .dtype = qkv.dtype,
          .sequences = sequences.count(),
          .tokens = qkv.shape[0],
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
          .tokens = support.shape[1],
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
          .tokens = x.shape[0],
          .max_length = sequences.max_length,
          .prefix = options.prefix,
          .grid_width = options.grid_width,
          .outputs = options.outputs,
          .columns = x.shape[1],
          .x_stride = x.strides[0],
          .out_stride = out.strides[0]};
}

absl::StatusOr<int64_t> LinearInColumns(std::span<const float> weight, std::span<const float> bias,
                                        int64_t out_columns) {
  const int64_t in_columns =
      out_columns > 0 ? static_cast<int64_t>(weight.size()) / out_columns : 0;
  if (in_columns > 0 && weight.size() == static_cast<size_t>(in_columns * out_columns) &&
      (bias.empty() || bias.size() == static_cast<size_t>(out_columns))) {
    return in_columns;
  }
  return absl::InvalidArgumentError(absl::StrCat("linear layer: ", weight.size(), " weights and ",
                                                 bias.size(), " biases do not fit ", out_columns,
                                                 " outputs"));
}

kernels::Im2ColParams PatchesOf(const TensorView& x, const kernels::Window& window) {
  return {.window = window, .height = x.shape[1], .width = x.shape[2], .channels = x.shape[3]};
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
