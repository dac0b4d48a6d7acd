// Tiles of 6 rows, each with a window of tokens outside of which every weight is negligible. A
// window's weights are computed once and used by all columns, 16 at a time. Tasks are ranges of
// tokens, so that one long sequence occupies all threads; what a tile computes depends on its
// sequence alone.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "kernels/cpu/avx2/math.h"
#include "kernels/cpu/avx2/tile.h"
#include "kernels/cpu/context_pool_scratch.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/support.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

using Scratch = ContextPoolScratch;
static_assert(Scratch::kTileRows == kTileRows);
constexpr int64_t kPanel = 16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// One sequence's pooled tokens.
struct Sequence {
  const float* x;  // [n, columns]
  const float* log_weight;
  const float* support_size;
  float* out;
  int64_t n;
};

// The largest log weight of each tile of tokens; a NaN counts as infinite, so that it is never
// skipped. Tiles beyond the sequence, up to 8, get -infinity.
void FindPeaks(const Sequence& sequence, float* peaks) {
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
// among the rows skips nothing.
struct SkipRule {
  SkipRule(const Sequence& sequence, int64_t row, int64_t rows, float skip_bits) {
    float least = kInfinity;
    bool bad = false;
    falloff = kInfinity;
    for (int64_t i = row; i < row + rows; ++i) {
      const float c = Falloff(sequence.support_size[i]);
      const float own = sequence.log_weight[i];
      bad |= std::isnan(c) || std::isnan(own);
      falloff = std::min(falloff, c);
      least = std::min(least, own);
    }
    threshold = bad ? -kInfinity : least - skip_bits;
    if (bad) falloff = 0;
  }

  bool Skips(float log_weight, int64_t distance) const {
    const auto d = static_cast<float>(distance);
    return log_weight - falloff * d * d <= threshold;
  }

  float falloff;
  float threshold;
};

// The first and last tiles of tokens, and of them the first and last tokens, that are not skipped;
// a row's own token never is.
void FindWindow(const Sequence& sequence, const SkipRule& rule, const float* peaks, Tile& tile) {
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

// The weights of a tile's window, divided as the normalisation says.
template <int kRows>
void Weigh(const ContextPoolParams& p, const Sequence& sequence, const Tile& tile) {
  __m256 falloff[kRows], sum[kRows];
  for (int r = 0; r < kRows; ++r) {
    falloff[r] = _mm256_set1_ps(Falloff(sequence.support_size[tile.row + r]));
    sum[r] = _mm256_setzero_ps();
  }
  const __m256 lane = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
  const int64_t tokens = tile.end - tile.begin;
  ForColumns(tokens, [&](int64_t c, auto lanes) {
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
  if (p.normalization == PoolNormalization::kNone) return;
  for (int r = 0; r < kRows; ++r) {
    const float divisor =
        p.normalization == PoolNormalization::kMean ? static_cast<float>(sequence.n) : Sum(sum[r]);
    const __m256 scale = _mm256_set1_ps(1.0f / divisor);
    float* row = tile.weights + r * tile.stride;
    for (int64_t c = 0; c < tokens; c += 8) {
      _mm256_storeu_ps(row + c, _mm256_mul_ps(_mm256_loadu_ps(row + c), scale));
    }
  }
}

// Columns [column, column + 16) of x for the tokens from `first_token` on, `stride` floats apart.
struct Panel {
  int64_t column;
  const float* x;
  int64_t stride;
  int64_t first_token;
};

template <int kRows>
void Multiply(const ContextPoolParams& p, const Sequence& sequence, const Tile& tile,
              const Panel& panel) {
  __m256 y[kRows][2] = {};
  MultiplyAdd<kRows>(tile.weights, tile.stride,
                     panel.x + (tile.begin - panel.first_token) * panel.stride, panel.stride,
                     tile.end - tile.begin, y);
  const PairLanes lanes(p.columns - panel.column);
  const __m256 gate = _mm256_set1_ps(p.gate);
  for (int r = 0; r < kRows; ++r) {
    if (p.residual != PoolResidual::kNone) {
      __m256 x[2];
      lanes.Load(sequence.x + (tile.row + r) * p.x_stride + panel.column, x);
      for (int half = 0; half < 2; ++half) {
        y[r][half] = p.residual == PoolResidual::kAdd
                         ? _mm256_add_ps(x[half], y[r][half])
                         : _mm256_fmadd_ps(gate, _mm256_sub_ps(y[r][half], x[half]), x[half]);
      }
    }
    lanes.Store(sequence.out + (tile.row + r) * p.out_stride + panel.column, y[r][0], y[r][1]);
  }
}

// Tiles that are worked on together, column by column.
struct Block {
  Tile tiles[Scratch::kBlockRows / kTileRows];
  int64_t count = 0;
  int64_t begin = std::numeric_limits<int64_t>::max();
  int64_t end = 0;

  std::span<const Tile> used() const { return {tiles, static_cast<size_t>(count)}; }
};

Block MakeBlock(const ContextPoolParams& p, const Sequence& sequence, int64_t row, int64_t row_end,
                const Scratch& scratch) {
  Block block;
  float* weights = scratch.weights;
  int64_t computed = 0;
  for (; row < row_end; row += kTileRows) {
    Tile& tile = block.tiles[block.count++];
    tile.row = row;
    tile.rows = std::min<int64_t>(kTileRows, sequence.n - row);
    FindWindow(sequence, SkipRule(sequence, row, tile.rows, p.skip_bits), scratch.peaks, tile);
    tile.weights = weights;
    tile.stride = (tile.end - tile.begin + 7) / 8 * 8;
    weights += tile.rows * tile.stride;
    WithRows(tile.rows, [&]<int kRows> { Weigh<kRows>(p, sequence, tile); });
    block.begin = std::min(block.begin, tile.begin);
    block.end = std::max(block.end, tile.end);
    computed += Scratch::Tiles(tile.end) - tile.begin / Scratch::kTileTokens;
  }
  Count(p.tiles, computed, block.count * Scratch::Tiles(sequence.n) - computed);
  return block;
}

// Copies one panel of the tokens [begin, end) to where they lie dense.
void Pack(const ContextPoolParams& p, const Sequence& sequence, const Block& block, Panel& panel,
          float* packed) {
  const PairLanes lanes(p.columns - panel.column);
  for (int64_t j = block.begin; j < block.end; ++j) {
    __m256 v[2];
    lanes.Load(sequence.x + j * p.x_stride + panel.column, v);
    _mm256_storeu_ps(packed + (j - block.begin) * kPanel, v[0]);
    _mm256_storeu_ps(packed + (j - block.begin) * kPanel + 8, v[1]);
  }
  panel.x = packed;
  panel.stride = kPanel;
}

// Windows up to this long are read where they are: their panels stay in the first-level cache
// although their rows are far apart.
constexpr int64_t kLongWindow = 64;

void RunRows(const ContextPoolParams& p, const Sequence& sequence, int64_t row, int64_t row_end,
             const Scratch& scratch) {
  FindPeaks(sequence, scratch.peaks);
  const Block block = MakeBlock(p, sequence, row, row_end, scratch);
  for (int64_t column = 0; column < p.columns; column += kPanel) {
    Panel panel = {.column = column,
                   .x = sequence.x + block.begin * p.x_stride + column,
                   .stride = p.x_stride,
                   .first_token = block.begin};
    // A partial panel is packed for its reads must not pass the end of a row.
    if (block.end - block.begin > kLongWindow || column + kPanel > p.columns) {
      Pack(p, sequence, block, panel, scratch.packed);
    }
    for (const Tile& tile : block.used()) {
      WithRows(tile.rows, [&]<int kRows> { Multiply<kRows>(p, sequence, tile, panel); });
    }
  }
}

// Of sequence `index`: its prefix tokens and the tiles that begin among tokens [begin, end).
void RunTokens(const ContextPoolParams& p, int64_t index, int64_t begin, int64_t end,
               const Scratch& scratch) {
  const int64_t start = p.cu_lengths[index];
  const int64_t length = p.cu_lengths[index + 1] - start;
  const int64_t pooled = start + std::min(p.prefix, length);
  const auto* x = static_cast<const float*>(p.x);
  auto* out = static_cast<float*>(p.out);
  for (int64_t token = std::max(begin, start); token < std::min(end, pooled); ++token) {
    std::memcpy(out + token * p.out_stride, x + token * p.x_stride, p.columns * sizeof(float));
  }
  const Sequence sequence = {.x = x + pooled * p.x_stride,
                             .log_weight = p.log_weight + pooled,
                             .support_size = p.support_size + pooled,
                             .out = out + pooled * p.out_stride,
                             .n = start + length - pooled};
  const int64_t row = Scratch::RowTiles(std::max<int64_t>(0, begin - pooled)) * kTileRows;
  const int64_t row_end = std::min(sequence.n, end - pooled);
  if (row < row_end) RunRows(p, sequence, row, row_end, scratch);
}

}  // namespace

void ContextPool(const ContextPoolParams& p, CpuStream& stream) {
  const int64_t first = p.cu_lengths[0];
  const int64_t tokens = p.cu_lengths[p.sequences] - first;
  // More tasks than threads, so that a thread that lost its CPU is not waited for.
  const int64_t share = stream.threads() > 1 ? tokens / (4 * stream.threads()) : tokens;
  const int64_t rows = std::clamp(Scratch::RowTiles(share) * kTileRows,
                                  static_cast<int64_t>(kTileRows), Scratch::kBlockRows);
  stream.ParallelFor((tokens + rows - 1) / rows, [&](int64_t task, int thread) {
    const Scratch scratch(p.workspace, p.max_length, thread);
    const int64_t begin = first + task * rows;
    const int64_t end = begin + rows;
    const int32_t* after = std::upper_bound(p.cu_lengths, p.cu_lengths + p.sequences + 1, begin);
    for (int64_t i = after - p.cu_lengths - 1; i < p.sequences && p.cu_lengths[i] < end; ++i) {
      RunTokens(p, i, begin, end, scratch);
    }
  });
}

}  // namespace contextpool::kernels::cpu::avx2
