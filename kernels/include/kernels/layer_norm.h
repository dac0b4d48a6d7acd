// out = LayerNorm(x + bias + residual), row by row.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/launch.h"

namespace contextpool::kernels {

// (v - mean) / sqrt(variance + eps) * gamma + beta with the biased variance, in two passes.
struct LayerNormParams {
  // [rows, columns], rows `x_stride` elements apart.
  const void* x = nullptr;
  // [columns]; null: none.
  const void* bias = nullptr;
  // [rows, columns]; null: none.
  const void* residual = nullptr;
  // [columns]
  const void* gamma = nullptr;
  const void* beta = nullptr;
  // [rows, columns]; may be `x` or `residual`.
  void* out = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t x_stride = 0;
  int64_t residual_stride = 0;
  int64_t out_stride = 0;
  float eps = 1e-12f;

  bool operator==(const LayerNormParams&) const = default;
};

namespace cpu {
Status LayerNorm(const LayerNormParams& params, StreamHandle stream);
}  // namespace cpu

// float16 and bfloat16, computed in float. kBadShape unless columns and strides are multiples of 8,
// columns are at most 2048 and all addresses multiples of 16 bytes.
namespace cuda {
Status LayerNorm(const LayerNormParams& params, StreamHandle stream);
}  // namespace cuda

// The kernels of `cuda` on the emulator: `stream` is a simt::Stream*.
namespace emulated {
Status LayerNorm(const LayerNormParams& params, StreamHandle stream);
}  // namespace emulated

}  // namespace contextpool::kernels
