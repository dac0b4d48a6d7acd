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
// skipped. Those of a grid's row follow those of the row before.
inline void FindPeaks(const Sequence& sequence, float* peaks) {
  const int64_t width = sequence.grid.width;
  const __m256 none = _mm256_set1_ps(-kInfinity);
  for (int64_t row = 0; row < sequence.grid.rows; ++row) {
    const float* log_weight = sequence.log_weight + row * width;
    const auto load = [&](int64_t j) {
      const int64_t left = width - j;
      if (left <= 0) return none;
      const __m256 mask = _mm256_castsi256_ps(LaneMask(left));
      const __m256 v =
          left >= 8 ? _mm256_loadu_ps(log_weight + j) : FirstLanes(left).Load(log_weight + j);
      const __m256 bad = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
      const __m256 kept = _mm256_blendv_ps(v, _mm256_set1_ps(kInfinity), bad);
      return _mm256_blendv_ps(none, kept, mask);
    };
    for (int64_t j = 0; j < width; j += Scratch::kTileTokens) {
      *peaks++ = Max(_mm256_max_ps(load(j), load(j + 8)));
    }
  }
}

// Some rows of the weights' matrix and the tokens that they look at.
struct Tile {
  // Row r makes output first_output + r, which is centred on the token (row, columns[r]) of the
  // grid.
  int64_t first_output;
  int64_t rows;
  int64_t row;
  int64_t columns[kTileRows];
  // The window: columns [begin, end) of the grid's rows [top, bottom).
  int64_t top, bottom;
  int64_t begin, end;
  float* weights;  // [rows, bottom - top, end - begin], rows `stride` apart
  int64_t stride;

  int64_t first_column() const { return columns[0]; }
  int64_t last_column() const { return columns[rows - 1]; }
  int64_t window_rows() const { return bottom - top; }
  int64_t width() const { return end - begin; }
  int64_t tokens() const { return window_rows() * width(); }
};

// The rule by which a tile's rows skip tokens: a token at distance d of the nearest row counts at
// most 2^(log_weight - falloff d^2), and no row's sum is less than its own token's weight. A NaN
// among the rows is not looked at: it spoils what it should whatever the window.
struct SkipRule {
  SkipRule(const Sequence& sequence, const Tile& tile, float skip_bits) {
    float least = kInfinity;
    for (int64_t r = 0; r < tile.rows; ++r) {
      const int64_t i = tile.row * sequence.grid.width + tile.columns[r];
      falloff = std::min(falloff, Falloff(sequence.support_size[i]));
      least = std::min(least, sequence.log_weight[i]);
    }
    threshold = least - skip_bits;
  }

  bool Skips(float log_weight, float squared_distance) const {
    return log_weight - falloff * squared_distance <= threshold;
  }

  float falloff = kInfinity;
  float threshold;
};

inline float Square(int64_t distance) {
  const auto d = static_cast<float>(distance);
  return d * d;
}

// Bit t: whether tile t of the 8 whose peaks these are, from column `begin` of the grid on, has a
// token that is not skipped. `apart`: squared, the distance of their row from the tile's.
inline unsigned KeptTiles(const SkipRule& rule, const Tile& tile, float apart, int64_t begin,
                          const float* peaks) {
  constexpr auto kTokens = static_cast<float>(Scratch::kTileTokens);
  const __m256 step =
      _mm256_mul_ps(_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_ps(kTokens));
  const __m256 low = _mm256_add_ps(_mm256_set1_ps(static_cast<float>(begin)), step);
  const __m256 high = _mm256_add_ps(low, _mm256_set1_ps(kTokens - 1));
  const __m256 first = _mm256_set1_ps(static_cast<float>(tile.first_column()));
  const __m256 last = _mm256_set1_ps(static_cast<float>(tile.last_column()));
  const __m256 gap = _mm256_max_ps(_mm256_sub_ps(first, high), _mm256_sub_ps(low, last));
  const __m256 d = _mm256_max_ps(gap, _mm256_setzero_ps());
  const __m256 squared = _mm256_fmadd_ps(d, d, _mm256_set1_ps(apart));
  const __m256 bound =
      _mm256_fnmadd_ps(_mm256_set1_ps(rule.falloff), squared, _mm256_loadu_ps(peaks));
  return static_cast<unsigned>(
      _mm256_movemask_ps(_mm256_cmp_ps(bound, _mm256_set1_ps(rule.threshold), _CMP_NLE_UQ)));
}

// Whether all that the window has of a column of the grid is skipped; `gap`: the column's distance
// from the tile's.
inline bool SkipsColumn(const Sequence& sequence, const SkipRule& rule, const Tile& tile,
                        int64_t column, int64_t gap) {
  for (int64_t row = tile.top; row < tile.bottom; ++row) {
    const float log_weight = sequence.log_weight[row * sequence.grid.width + column];
    if (!rule.Skips(log_weight, Square(row - tile.row) + Square(gap))) return false;
  }
  return true;
}

// The window is around the rows' own tokens, which are never skipped, and every tile with a token
// that is not; its columns are then narrowed by looking at single tokens.
inline void FindWindow(const Sequence& sequence, const SkipRule& rule, const float* peaks,
                       Tile& tile) {
  const Grid& grid = sequence.grid;
  const int64_t first_column = tile.first_column();
  const int64_t last_column = tile.last_column();
  tile.top = tile.row;
  tile.bottom = tile.row + 1;
  tile.begin = first_column;
  tile.end = last_column + 1;
  const int64_t tiles = Scratch::Tiles(grid.width);
  for (int64_t row = 0; row < grid.rows; ++row, peaks += tiles) {
    const float apart = Square(row - tile.row);
    for (int64_t t = 0; t < tiles; t += 8) {
      unsigned kept = KeptTiles(rule, tile, apart, t * Scratch::kTileTokens, peaks + t);
      if (tiles - t < 8) kept &= (1u << (tiles - t)) - 1;
      if (kept == 0) continue;
      const int64_t first = t + __builtin_ctz(kept);
      const int64_t last = t + 31 - __builtin_clz(kept);
      tile.top = std::min(tile.top, row);
      tile.bottom = std::max(tile.bottom, row + 1);
      tile.begin = std::min(tile.begin, first * Scratch::kTileTokens);
      tile.end = std::max(tile.end, std::min(grid.width, (last + 1) * Scratch::kTileTokens));
    }
  }
  while (tile.begin < first_column &&
         SkipsColumn(sequence, rule, tile, tile.begin, first_column - tile.begin)) {
    ++tile.begin;
  }
  while (tile.end - 1 > last_column &&
         SkipsColumn(sequence, rule, tile, tile.end - 1, tile.end - 1 - last_column)) {
    --tile.end;
  }
}

// The weights of a tile's window and the sum of each row.
template <int kRows>
void Weigh(const Sequence& sequence, const Tile& tile, float (&sums)[kRows]) {
  const int64_t width = sequence.grid.width;
  const float* support_size = sequence.support_size + tile.row * width;
  // From the tile's first column, and so are distances below.
  __m256 falloff[kRows], centre[kRows], sum[kRows];
  for (int r = 0; r < kRows; ++r) {
    falloff[r] = _mm256_set1_ps(Falloff(support_size[tile.columns[r]]));
    centre[r] = _mm256_set1_ps(static_cast<float>(tile.columns[r] - tile.first_column()));
    sum[r] = _mm256_setzero_ps();
  }
  const __m256 lane = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
  float* weights = tile.weights;
  for (int64_t row = tile.top; row < tile.bottom; ++row, weights += tile.width()) {
    const __m256 apart = _mm256_set1_ps(Square(row - tile.row));
    const float* log_weights = sequence.log_weight + row * width + tile.begin;
    ForColumns(tile.width(), [&](int64_t c, auto lanes) {
      const __m256 log_weight = lanes.Load(log_weights + c);
      const auto first = static_cast<float>(tile.begin + c - tile.first_column());
      const __m256 column = _mm256_add_ps(_mm256_set1_ps(first), lane);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m256 d = _mm256_sub_ps(column, centre[r]);
        const __m256 squared = _mm256_fmadd_ps(d, d, apart);
        const __m256 weight = lanes.Only(Exp2(_mm256_fnmadd_ps(falloff[r], squared, log_weight)));
        sum[r] = _mm256_add_ps(sum[r], weight);
        // Whole vectors: what is too much is overwritten by the next row, or there is room for it.
        _mm256_storeu_ps(weights + r * tile.stride + c, weight);
      }
    });
  }
  for (int r = 0; r < kRows; ++r) sums[r] = Sum(sum[r]);
}

// How far apart a tile's rows of weights lie: Weigh's vectors may end 7 behind the window.
inline int64_t WeightStride(const Tile& tile) {
  const int64_t end = tile.tokens() - tile.width() + (tile.width() + 7) / 8 * 8;
  return (end + 7) / 8 * 8;
}

// Narrows a window of one row of the grid where every weight is at most 2^-skip_bits of its sum,
// now that this is known, and brings the sums up to date. A NaN stays.
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
  while (tile.begin + 8 <= tile.first_column() && (mask = kept(tile.begin)) == 0) tile.begin += 8;
  if (mask != 0) tile.begin += __builtin_ctz(mask);
  mask = 0;
  while (tile.end - 8 > tile.last_column() && (mask = kept(tile.end - 8)) == 0) tile.end -= 8;
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
    if (tile.window_rows() == 1 && tile.width() >= kTrimmedWindow) {
      Trim<kRows>(p.skip_bits, tile, sums);
    }
    Normalize<kRows>(p.normalization, sequence.n, sums, tile);
    tile.weights += tile.begin - first;
  });
}

}  // namespace
}  // namespace contextpool::kernels::cpu::avx2
