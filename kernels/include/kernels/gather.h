// out[i] = x[rows[i]].
#pragma once

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/launch.h"

namespace contextpool::kernels {

struct GatherRowsParams {
  // [*, columns], rows `x_stride` elements apart.
  const void* x = nullptr;
  // [count]
  const int32_t* rows = nullptr;
  // [count, columns], dense.
  void* out = nullptr;
  DType dtype = DType::kF32;
  int64_t count = 0;
  int64_t columns = 0;
  int64_t x_stride = 0;
};

namespace cpu {
Status GatherRows(const GatherRowsParams& params, StreamHandle stream);
}  // namespace cpu

}  // namespace contextpool::kernels
