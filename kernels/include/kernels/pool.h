// One vector per sequence out of its tokens.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/launch.h"

namespace contextpool::kernels {

enum class PoolMode : int32_t { kMean, kFirst, kMax, kLast };

// Rows [begin, end) of x make one row of out. Not empty on the CPU.
struct PoolSegment {
  int32_t begin = 0;
  int32_t end = 0;
  PoolMode mode = PoolMode::kMean;
  // Whether the row is divided by its Euclidean length (at least 1e-12).
  int32_t normalize = 0;
};

struct PoolParams {
  // [tokens, columns], dense.
  const void* x = nullptr;
  // [segments]
  const PoolSegment* segments = nullptr;
  // [segments, columns], dense.
  void* out = nullptr;
  DType dtype = DType::kF32;  // of x
  // float32 on the CPU.
  DType out_dtype = DType::kF32;
  int64_t segment_count = 0;
  int64_t columns = 0;

  bool operator==(const PoolParams&) const = default;
};

namespace cpu {
Status Pool(const PoolParams& params, StreamHandle stream);
}  // namespace cpu

// float32, float16 and bfloat16, computed in float; out is float32 or of x's type. kBadShape unless
// columns are a multiple of 8, at most 2048, x, segments and out at multiples of 16 bytes, and
// segments fewer than 2^31. An empty segment gives zeros.
namespace cuda {
Status Pool(const PoolParams& params, StreamHandle stream);
}  // namespace cuda

// The kernels of `cuda` on the emulator: `stream` is a simt::Stream*.
namespace emulated {
Status Pool(const PoolParams& params, StreamHandle stream);
}  // namespace emulated

}  // namespace contextpool::kernels
