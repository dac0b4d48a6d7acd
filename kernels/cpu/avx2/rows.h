// Normalising one row that is in the cache.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "kernels/cpu/avx2/math.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

// Calls body(column, mask) for each group of 8 columns, the last one masked.
template <typename Body>
inline void ForColumns(int64_t columns, const Body& body) {
  const __m256i full = _mm256_set1_epi32(-1);
  int64_t c = 0;
  for (; c + 8 <= columns; c += 8) body(c, full);
  if (c < columns) body(c, LaneMask(columns - c));
}

// out = LayerNorm(row); the two may be the same. Two passes: sum, then squared distances.
inline void NormalizeRow(const float* row, const float* gamma, const float* beta, int64_t columns,
                         float eps, float* out) {
  __m256 sum = _mm256_setzero_ps();
  ForColumns(columns, [&](int64_t c, __m256i mask) {
    sum = _mm256_add_ps(sum, _mm256_maskload_ps(row + c, mask));
  });
  const __m256 mean = _mm256_set1_ps(Sum(sum) / static_cast<float>(columns));
  __m256 squares = _mm256_setzero_ps();
  ForColumns(columns, [&](int64_t c, __m256i mask) {
    __m256 d = _mm256_sub_ps(_mm256_maskload_ps(row + c, mask), mean);
    d = _mm256_and_ps(d, _mm256_castsi256_ps(mask));
    squares = _mm256_fmadd_ps(d, d, squares);
  });
  const float variance = Sum(squares) / static_cast<float>(columns);
  const __m256 scale = _mm256_set1_ps(1.0f / std::sqrt(variance + eps));
  ForColumns(columns, [&](int64_t c, __m256i mask) {
    const __m256 d = _mm256_sub_ps(_mm256_maskload_ps(row + c, mask), mean);
    const __m256 value =
        _mm256_fmadd_ps(_mm256_mul_ps(d, scale), _mm256_maskload_ps(gamma + c, mask),
                        _mm256_maskload_ps(beta + c, mask));
    _mm256_maskstore_ps(out + c, mask, value);
  });
}

}  // namespace
}  // namespace contextpool::kernels::cpu::avx2
