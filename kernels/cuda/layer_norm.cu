#include "kernels/cuda/check.h"
#include "kernels/cuda/layer_norm.cuh"
#include "kernels/cuda/row_launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_half.cuh"
#include "kernels/layer_norm.h"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

bool IsSupported(const LayerNormParams& p) {
  return p.rows >= 0 && FitsWarpRow(p.columns) &&
         AreVectorAligned({p.x, p.bias, p.residual, p.gamma, p.beta, p.out}) &&
         AreMultiplesOf(RowTraits::kVector, {p.columns, p.x_stride, p.out_stride}) &&
         (p.residual == nullptr || AreMultiplesOf(RowTraits::kVector, {p.residual_stride}));
}

template <typename T>
LayerNormArgs<T> ArgsOf(const LayerNormParams& p) {
  return {.x = Rows<const T>(p.x, p.rows, p.columns, p.x_stride),
          .bias = Rows<const T>(p.bias, 1, p.columns, 0),
          .residual = Rows<const T>(p.residual, p.rows, p.columns, p.residual_stride),
          .norm = {.gamma = Rows<const T>(p.gamma, 1, p.columns, 0),
                   .beta = Rows<const T>(p.beta, 1, p.columns, 0),
                   .eps = p.eps},
          .out = Rows<T>(p.out, p.rows, p.columns, p.out_stride),
          .rows = p.rows,
          .columns = static_cast<int>(p.columns),
          .x_stride = p.x_stride,
          .residual_stride = p.residual_stride,
          .out_stride = p.out_stride};
}

}  // namespace

Status LayerNorm(const LayerNormParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.rows == 0) return Status::kOk;
  return WithHalf(params.dtype, [&]<typename T>(std::type_identity<T>) {
    return WithSteps(params.columns, [&](auto steps) {
      return Launch(RowLaunch("layer_norm", params.rows, params.columns, params.columns), stream,
                    LayerNormKernel<T, steps>, ArgsOf<T>(params));
    });
  });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
