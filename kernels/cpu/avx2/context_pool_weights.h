// ContextPool's weights, a tile of rows at a time: which tokens they look at and what these count.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cpu/avx2/math.h"
#include "kernels/cpu/avx2/tile.h"
#include "kernels/cpu/context_pool_formula.h"
#include "kernels/cpu/context_pool_scratch.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

using Scratch = ContextPoolScratch;
static_assert(Scratch::kTileRows == kTileRows);
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The largest log weight of each tile of tokens; a NaN counts as infinite, so that it is never
// skipped. Tiles beyond the sequence, up to 8, get -infinity.
inline void FindPeaks(const Sequence& sequence, float* peaks) {
  const __m256 none = _mm256_set1_ps(-kInfinity);
  const auto load = [&](int64_t j) {
    const int64_t left = sequence.n - j;
    if (left <= 0) return none;
    const __m256 mask = _mm256_castsi256_ps(LaneMask(left));
    const __m256 v = left >= 8 ? _mm256_loadu_ps(sequence.log_weight + j)
                               : FirstLanes(left).Load(sequence.log_weight + j);
    const __m256 bad = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
    const __m256 kept = _mm256_blendv_ps(v, _mm256_set1_ps(kInfinity), bad);
    return _mm256_blendv_ps(none, kept, mask);
  };
  const int64_t tiles = Scratch::Tiles(sequence.n);
  for (int64_t tile = 0; tile < (tiles + 7) / 8 * 8; ++tile) {
    const int64_t j = tile * Scratch::kTileTokens;
    peaks[tile] = Max(_mm256_max_ps(load(j), load(j + 8)));
  }
}

// Rows of one tile and the tokens that they look at.
struct Tile {
  int64_t row;  // in the sequence
  int64_t rows;
  int64_t begin, end;
  float* weights;  // [rows, end - begin], rows `stride` apart
  int64_t stride;
};

// The rule by which a tile's rows skip tokens: a token at distance d of the nearest row counts at
// most 2^(log_weight - falloff d^2), and no row's sum is less than its own token's weight. A NaN
// among the rows is not looked at: it spoils what it should whatever the window.
struct SkipRule {
  SkipRule(const Sequence& sequence, int64_t row, int64_t rows, float skip_bits) {
    float least = kInfinity;
    for (int64_t i = row; i < row + rows; ++i) {
      falloff = std::min(falloff, Falloff(sequence.support_size[i]));
      least = std::min(least, sequence.log_weight[i]);
    }
    threshold = least - skip_bits;
  }

  bool Skips(float log_weight, int64_t distance) const {
    const auto d = static_cast<float>(distance);
    return log_weight - falloff * d * d <= threshold;
  }

  float falloff = kInfinity;
  float threshold;
};

// The first and last tiles of tokens, and of them the first and last tokens, that are not skipped;
// a row's own token never is.
inline void FindWindow(const Sequence& sequence, const SkipRule& rule, const float* peaks,
                       Tile& tile) {
  const __m256 falloff = _mm256_set1_ps(rule.falloff);
  const __m256 threshold = _mm256_set1_ps(rule.threshold);
  const auto first_row = static_cast<float>(tile.row);
  const auto last_row = static_cast<float>(tile.row + tile.rows - 1);
  constexpr auto kTokens = static_cast<float>(Scratch::kTileTokens);
  const __m256 step =
      _mm256_mul_ps(_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_ps(kTokens));
  tile.begin = tile.row;
  tile.end = tile.row + tile.rows;
  for (int64_t t = 0; t < Scratch::Tiles(sequence.n); t += 8) {
    const __m256 low = _mm256_add_ps(_mm256_set1_ps(static_cast<float>(t) * kTokens), step);
    const __m256 high = _mm256_add_ps(low, _mm256_set1_ps(kTokens - 1));
    const __m256 gap = _mm256_max_ps(_mm256_sub_ps(_mm256_set1_ps(first_row), high),
                                     _mm256_sub_ps(low, _mm256_set1_ps(last_row)));
    const __m256 distance = _mm256_max_ps(gap, _mm256_setzero_ps());
    const __m256 bound =
        _mm256_fnmadd_ps(_mm256_mul_ps(falloff, distance), distance, _mm256_loadu_ps(peaks + t));
    const auto kept =
        static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(bound, threshold, _CMP_NLE_UQ)));
    if (kept == 0) continue;
    const int64_t first = t + __builtin_ctz(kept);
    const int64_t last = t + 31 - __builtin_clz(kept);
    tile.begin = std::min(tile.begin, first * Scratch::kTileTokens);
    tile.end = std::max(tile.end, std::min(sequence.n, (last + 1) * Scratch::kTileTokens));
  }
  const int64_t row_end = tile.row + tile.rows;
  while (tile.begin < tile.row &&
         rule.Skips(sequence.log_weight[tile.begin], tile.row - tile.begin)) {
    ++tile.begin;
  }
  while (tile.end > row_end && rule.Skips(sequence.log_weight[tile.end - 1], tile.end - row_end)) {
    --tile.end;
  }
}

// The weights of a tile's window and the sum of each row.
template <int kRows>
void Weigh(const Sequence& sequence, const Tile& tile, float (&sums)[kRows]) {
  __m256 falloff[kRows], sum[kRows];
  for (int r = 0; r < kRows; ++r) {
    falloff[r] = _mm256_set1_ps(Falloff(sequence.support_size[tile.row + r]));
    sum[r] = _mm256_setzero_ps();
  }
  const __m256 lane = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
  ForColumns(tile.end - tile.begin, [&](int64_t c, auto lanes) {
    const __m256 log_weight = lanes.Load(sequence.log_weight + tile.begin + c);
    // From the first row.
    const __m256 ahead =
        _mm256_add_ps(_mm256_set1_ps(static_cast<float>(tile.begin + c - tile.row)), lane);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256 d = _mm256_sub_ps(ahead, _mm256_set1_ps(static_cast<float>(r)));
      const __m256 weight =
          lanes.Only(Exp2(_mm256_fnmadd_ps(_mm256_mul_ps(falloff[r], d), d, log_weight)));
      sum[r] = _mm256_add_ps(sum[r], weight);
      // Rows are long enough for a whole vector.
      _mm256_storeu_ps(tile.weights + r * tile.stride + c, weight);
    }
  });
  for (int r = 0; r < kRows; ++r) sums[r] = Sum(sum[r]);
}

// Narrows the window where every weight is at most 2^-skip_bits of its row's sum, now that this is
// known, and brings the sums up to date. A NaN stays.
template <int kRows>
void Trim(float skip_bits, Tile& tile, float (&sums)[kRows]) {
  const float share = std::exp2(-skip_bits);
  const int64_t first = tile.begin;
  // Which of 8 tokens count.
  const auto kept = [&](int64_t token) {
    int mask = 0;
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256 weight = _mm256_loadu_ps(tile.weights + r * tile.stride + token - first);
      mask |=
          _mm256_movemask_ps(_mm256_cmp_ps(weight, _mm256_set1_ps(share * sums[r]), _CMP_NLE_UQ));
    }
    return static_cast<unsigned>(mask);
  };
  // The last vector before the rows may reach into them, and the first one after them.
  unsigned mask = 0;
  while (tile.begin + 8 <= tile.row && (mask = kept(tile.begin)) == 0) tile.begin += 8;
  if (mask != 0) tile.begin += __builtin_ctz(mask);
  mask = 0;
  while (tile.end - 8 >= tile.row + kRows && (mask = kept(tile.end - 8)) == 0) tile.end -= 8;
  if (mask != 0) tile.end -= __builtin_clz(mask) - 24;
  for (int r = 0; r < kRows; ++r) {
    __m256 sum = _mm256_setzero_ps();
    const float* row = tile.weights + r * tile.stride + tile.begin - first;
    ForColumns(tile.end - tile.begin,
               [&](int64_t c, auto lanes) { sum = _mm256_add_ps(sum, lanes.Load(row + c)); });
    sums[r] = Sum(sum);
  }
}

// Divides the weights as the normalisation says.
template <int kRows>
void Normalize(PoolNormalization normalization, int64_t n, const float (&sums)[kRows],
               const Tile& tile) {
  if (normalization == PoolNormalization::kNone) return;
  for (int r = 0; r < kRows; ++r) {
    const float divisor =
        normalization == PoolNormalization::kMean ? static_cast<float>(n) : sums[r];
    const __m256 scale = _mm256_set1_ps(1.0f / divisor);
    float* row = tile.weights + r * tile.stride;
    for (int64_t c = 0; c < tile.stride; c += 8) {
      _mm256_storeu_ps(row + c, _mm256_mul_ps(_mm256_loadu_ps(row + c), scale));
    }
  }
}

// Shorter windows are not worth trimming.
constexpr int64_t kTrimmedWindow = 32;

// Fills in what FindWindow left open, and may narrow the window.
inline void MakeWeights(const ContextPoolParams& p, const Sequence& sequence, Tile& tile) {
  WithRows(tile.rows, [&]<int kRows> {
    float sums[kRows];
    Weigh<kRows>(sequence, tile, sums);
    const int64_t first = tile.begin;
    if (tile.end - first >= kTrimmedWindow) Trim<kRows>(p.skip_bits, tile, sums);
    Normalize<kRows>(p.normalization, sequence.n, sums, tile);
    tile.weights += tile.begin - first;
  });
}

}  // namespace
}  // namespace contextpool::kernels::cpu::avx2
