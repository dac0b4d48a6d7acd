#include "kernels/cuda/check.h"
#include "kernels/cuda/layer_norm.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/layer_norm.h"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

using Traits = LayerNormTraits;

bool IsSupported(const LayerNormParams& p) {
  const bool is_aligned =
      AreVectorAligned({p.x, p.bias, p.residual, p.gamma, p.beta, p.out}) &&
      AreMultiplesOf(Traits::kVector, {p.columns, p.x_stride, p.out_stride}) &&
      (p.residual == nullptr || AreMultiplesOf(Traits::kVector, {p.residual_stride}));
  return is_aligned && p.rows >= 0 && p.columns > 0 &&
         p.columns <= Traits::kMaxSteps * Traits::kStep;
}

template <typename T>
LayerNormArgs<T> ArgsOf(const LayerNormParams& p) {
  return {.x = Rows<const T>(p.x, p.rows, p.columns, p.x_stride),
          .bias = Rows<const T>(p.bias, 1, p.columns, 0),
          .residual = Rows<const T>(p.residual, p.rows, p.columns, p.residual_stride),
          .gamma = Rows<const T>(p.gamma, 1, p.columns, 0),
          .beta = Rows<const T>(p.beta, 1, p.columns, 0),
          .out = Rows<T>(p.out, p.rows, p.columns, p.out_stride),
          .rows = p.rows,
          .columns = static_cast<int>(p.columns),
          .x_stride = p.x_stride,
          .residual_stride = p.residual_stride,
          .out_stride = p.out_stride,
          .eps = p.eps};
}

template <typename T>
Status LaunchFor(const LayerNormParams& params, StreamHandle stream) {
  const LaunchConfig config = {.kernel = "layer_norm",
                               .grid = {BlocksFor(params.rows, Traits::kRows)},
                               .block = {Traits::kThreads}};
  const LayerNormArgs<T> args = ArgsOf<T>(params);
  const int64_t steps = (params.columns + Traits::kStep - 1) / Traits::kStep;
  if (steps <= 1) return Launch(config, stream, LayerNormKernel<T, 1>, args);
  if (steps <= 2) return Launch(config, stream, LayerNormKernel<T, 2>, args);
  if (steps <= 3) return Launch(config, stream, LayerNormKernel<T, 3>, args);
  if (steps <= 4) return Launch(config, stream, LayerNormKernel<T, 4>, args);
  return Launch(config, stream, LayerNormKernel<T, Traits::kMaxSteps>, args);
}

}  // namespace

Status LayerNorm(const LayerNormParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.rows == 0) return Status::kOk;
  switch (params.dtype) {
    case DType::kBF16:
      return LaunchFor<BF16>(params, stream);
    case DType::kF16:
      return LaunchFor<F16>(params, stream);
    default:
      return Status::kBadDType;
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
