// The inner loop of every matrix product here: up to 6 rows times 16 columns in registers.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace contextpool::kernels::cpu::avx2 {
namespace {

// 6 x 2 accumulators, 2 of b and 1 of a fill 15 of the 16 registers.
constexpr int kTileRows = 6;

// acc += a b: a is [kRows, depth] with rows `a_stride` apart, b is [depth, 16] with rows `b_stride`
// apart. Loops over rows are unrolled by hand-written pragmas: only constant indices let GCC keep
// `sum` in registers.
template <int kRows>
inline __attribute__((always_inline)) void MultiplyAdd(const float* a, int64_t a_stride,
                                                       const float* b, int64_t b_stride,
                                                       int64_t depth, __m256 (&acc)[kRows][2]) {
  __m256 sum[kRows][2];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    sum[i][0] = acc[i][0];
    sum[i][1] = acc[i][1];
  }
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    const __m256 b0 = _mm256_loadu_ps(b + k * b_stride);
    const __m256 b1 = _mm256_loadu_ps(b + k * b_stride + 8);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const __m256 value = _mm256_broadcast_ss(a + i * a_stride + k);
      sum[i][0] = _mm256_fmadd_ps(value, b0, sum[i][0]);
      sum[i][1] = _mm256_fmadd_ps(value, b1, sum[i][1]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    acc[i][0] = sum[i][0];
    acc[i][1] = sum[i][1];
  }
}

// Calls `body.template operator()<rows>()` for a number of rows known only now, 1 to kTileRows.
template <typename Body>
inline void WithRows(int64_t rows, const Body& body) {
  switch (rows) {
    case 1:
      return body.template operator()<1>();
    case 2:
      return body.template operator()<2>();
    case 3:
      return body.template operator()<3>();
    case 4:
      return body.template operator()<4>();
    case 5:
      return body.template operator()<5>();
    default:
      return body.template operator()<6>();
  }
}

}  // namespace
}  // namespace contextpool::kernels::cpu::avx2
