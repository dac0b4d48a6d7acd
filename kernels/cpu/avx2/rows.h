// Normalising one row that is in the cache.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "kernels/cpu/avx2/math.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

// out = LayerNorm(row); the two may be the same. Two passes: sum, then squared distances.
inline void NormalizeRow(const float* row, const float* gamma, const float* beta, int64_t columns,
                         float eps, float* out) {
  __m256 sum = _mm256_setzero_ps();
  ForColumns(columns,
             [&](int64_t c, auto lanes) { sum = _mm256_add_ps(sum, lanes.Load(row + c)); });
  const __m256 mean = _mm256_set1_ps(Sum(sum) / static_cast<float>(columns));
  __m256 squares = _mm256_setzero_ps();
  ForColumns(columns, [&](int64_t c, auto lanes) {
    const __m256 d = lanes.Only(_mm256_sub_ps(lanes.Load(row + c), mean));
    squares = _mm256_fmadd_ps(d, d, squares);
  });
  const float variance = Sum(squares) / static_cast<float>(columns);
  const __m256 scale = _mm256_set1_ps(1.0f / std::sqrt(variance + eps));
  ForColumns(columns, [&](int64_t c, auto lanes) {
    const __m256 d = _mm256_sub_ps(lanes.Load(row + c), mean);
    const __m256 value =
        _mm256_fmadd_ps(_mm256_mul_ps(d, scale), lanes.Load(gamma + c), lanes.Load(beta + c));
    lanes.Store(out + c, value);
  });
}

}  // namespace
}  // namespace contextpool::kernels::cpu::avx2
