// Eight floats at a time: exp, erf, tanh and the activations. Included only by files compiled for
// AVX2; the unnamed namespace keeps their code out of every other file.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <numbers>

#include "kernels/activation.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

// NaN stays NaN: of an unordered pair min_ps and max_ps return the second.
inline __m256 Clamp(__m256 x, float low, float high) {
  return _mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), x));
}

inline __m256 Fma(__m256 a, __m256 b, float c) { return _mm256_fmadd_ps(a, b, _mm256_set1_ps(c)); }

// Relative error below 2e-7. exp(x) = 2^n exp(r) with |r| <= ln(2) / 2 and r in two parts.
inline __m256 Exp(__m256 x) {
  x = Clamp(x, -87.3f, 88.3f);
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(std::numbers::log2e_v<float>)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  // Taylor up to r^7: the first term left out is 5e-9.
  __m256 p = Fma(r, _mm256_set1_ps(1.0f / 5040), 1.0f / 720);
  p = Fma(p, r, 1.0f / 120);
  p = Fma(p, r, 1.0f / 24);
  p = Fma(p, r, 1.0f / 6);
  p = Fma(p, r, 0.5f);
  p = Fma(p, r, 1.0f);
  p = Fma(p, r, 1.0f);
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
}

// 2^x for x < 127, relative error below 2e-7; 0 for x <= -126.5. Adding 1.5 * 2^23 + 127 rounds to
// an integer whose low bits, shifted, are the float 2^n. NaN stays NaN whatever its bits are,
// because p is multiplied by that and not its exponent changed.
inline __m256 Exp2(__m256 x) {
  x = _mm256_max_ps(_mm256_set1_ps(-127.0f), x);
  const __m256 shift = _mm256_set1_ps(12583039.0f);
  const __m256 shifted = _mm256_add_ps(x, shift);
  const __m256 r = _mm256_sub_ps(x, _mm256_sub_ps(shifted, shift));
  // A minimax fit of 2^r on [-1/2, 1/2]: 7.5e-8.
  __m256 p = Fma(r, _mm256_set1_ps(1.327647178e-03f), 9.675541333e-03f);
  p = Fma(p, r, 5.550713274e-02f);
  p = Fma(p, r, 2.402211972e-01f);
  p = Fma(p, r, 6.931469671e-01f);
  p = Fma(p, r, 1.000000072f);
  const __m256i power = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

// Absolute error below 5e-7: x P(x^2) / Q(x^2), a minimax fit on [0, 3.92]; beyond, erf rounds to 1
// and is exactly that, so that gelu(x) is exactly 0 or x.
inline __m256 Erf(__m256 x) {
  const __m256 sign = _mm256_and_ps(x, _mm256_set1_ps(-0.0f));
  const __m256 one = _mm256_or_ps(sign, _mm256_set1_ps(1.0f));
  const __m256 far = _mm256_cmp_ps(_mm256_xor_ps(x, sign), _mm256_set1_ps(3.92f), _CMP_GT_OQ);
  const __m256 t = _mm256_mul_ps(x, x);
  __m256 p = Fma(t, _mm256_set1_ps(2.034723593e-06f), 2.874762577e-04f);
  p = Fma(p, t, 3.868262982e-03f);
  p = Fma(p, t, 5.306028202e-02f);
  p = Fma(p, t, 1.927628070e-01f);
  p = Fma(p, t, 1.128378987f);
  __m256 q = Fma(t, _mm256_set1_ps(3.807035682e-05f), 1.188096241e-03f);
  q = Fma(q, t, 1.517216954e-02f);
  q = Fma(q, t, 1.150840670e-01f);
  q = Fma(q, t, 5.041632652e-01f);
  q = Fma(q, t, 1.0f);
  return _mm256_blendv_ps(_mm256_div_ps(_mm256_mul_ps(x, p), q), one, far);
}

// Absolute error below 3e-7.
inline __m256 Tanh(__m256 x) {
  const __m256 one = _mm256_set1_ps(1.0f);
  const __m256 e = Exp(_mm256_add_ps(x, x));
  return _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(e, one)));
}

template <Activation kActivation>
inline __m256 Activate(__m256 x) {
  if constexpr (kActivation == Activation::kGelu) {
    const __m256 erf = Erf(_mm256_mul_ps(x, _mm256_set1_ps(0.70710678f)));
    const __m256 half = _mm256_mul_ps(x, _mm256_set1_ps(0.5f));
    return _mm256_fmadd_ps(half, erf, half);
  } else if constexpr (kActivation == Activation::kGeluTanh) {
    const __m256 cubic = Fma(_mm256_mul_ps(x, x), _mm256_set1_ps(0.044715f), 1.0f);
    const __m256 inner = _mm256_mul_ps(_mm256_mul_ps(x, _mm256_set1_ps(0.79788456f)), cubic);
    const __m256 half = _mm256_mul_ps(x, _mm256_set1_ps(0.5f));
    return _mm256_fmadd_ps(half, Tanh(inner), half);
  } else if constexpr (kActivation == Activation::kRelu) {
    return _mm256_max_ps(_mm256_setzero_ps(), x);
  } else if constexpr (kActivation == Activation::kTanh) {
    return Tanh(x);
  } else if constexpr (kActivation == Activation::kLeakyRelu) {
    // The larger of the two; a NaN is both.
    return _mm256_max_ps(_mm256_mul_ps(x, _mm256_set1_ps(0.01f)), x);
  } else {
    return x;
  }
}

inline float Sum(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

inline float Max(__m256 v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

// Lanes [0, count) set; count may be negative or above 8.
inline __m256i LaneMask(int64_t count) {
  const int lanes = count < 0 ? 0 : count > 8 ? 8 : static_cast<int>(count);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// The first lanes of a vector; the others are read as zeros and not written. Masked stores take
// tens of cycles on AMD, so whole vectors have a type of their own.
struct FirstLanes {
  explicit FirstLanes(int64_t count) : mask(LaneMask(count)) {}
  __m256 Load(const float* from) const { return _mm256_maskload_ps(from, mask); }
  void Store(float* to, __m256 v) const { _mm256_maskstore_ps(to, mask, v); }
  __m256 Only(__m256 v) const { return _mm256_and_ps(v, _mm256_castsi256_ps(mask)); }

  __m256i mask;
};
struct AllLanes {
  __m256 Load(const float* from) const { return _mm256_loadu_ps(from); }
  void Store(float* to, __m256 v) const { _mm256_storeu_ps(to, v); }
  __m256 Only(__m256 v) const { return v; }
};

// Calls body(column, lanes) for each group of 8 columns.
template <typename Body>
inline void ForColumns(int64_t columns, const Body& body) {
  int64_t c = 0;
  for (; c + 8 <= columns; c += 8) body(c, AllLanes());
  if (c < columns) body(c, FirstLanes(columns - c));
}

// Columns [c, c + 16) of a row, as far as there are any: a pair of vectors.
struct PairLanes {
  explicit PairLanes(int64_t left) : whole(left >= 16), low(left), high(left - 8) {}

  void Load(const float* from, __m256 (&v)[2]) const {
    v[0] = whole ? _mm256_loadu_ps(from) : low.Load(from);
    v[1] = whole ? _mm256_loadu_ps(from + 8) : high.Load(from + 8);
  }
  void Store(float* to, __m256 v0, __m256 v1) const {
    if (whole) {
      _mm256_storeu_ps(to, v0);
      _mm256_storeu_ps(to + 8, v1);
    } else {
      low.Store(to, v0);
      high.Store(to + 8, v1);
    }
  }

  bool whole;
  FirstLanes low, high;
};
struct AllPairLanes {
  void Load(const float* from, __m256 (&v)[2]) const {
    v[0] = _mm256_loadu_ps(from);
    v[1] = _mm256_loadu_ps(from + 8);
  }
  void Store(float* to, __m256 v0, __m256 v1) const {
    _mm256_storeu_ps(to, v0);
    _mm256_storeu_ps(to + 8, v1);
  }
};

}  // namespace
}  // namespace contextpool::kernels::cpu::avx2
