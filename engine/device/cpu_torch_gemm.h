// LibTorch's matrix product, in plain types.
#pragma once

#include <cstdint>

namespace contextpool::engine {

struct TorchGemmParams {
  const float* x;       // [rows, in], rows `x_stride` apart
  const float* weight;  // [out, in], dense
  float* out;           // [rows, out], rows `out_stride` apart
  int64_t rows;
  int64_t in_columns;
  int64_t out_columns;
  int64_t x_stride;
  int64_t out_stride;
};

// out = x W^T in the calling thread alone. Whatever LibTorch throws becomes `false`.
bool TorchGemm(const TorchGemmParams& params);

}  // namespace contextpool::engine
