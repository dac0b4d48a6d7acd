// Tiles of 6 rows, each with a window of tokens outside of which every weight is negligible: found
// from bounds on the weights first, narrowed when these are known. A window's weights are computed
// once and used by all columns, 16 at a time. Tasks are ranges of tokens, so that one long sequence
// occupies all threads; what a tile computes depends on its sequence alone.

#include <algorithm>
#include <cstring>
#include <limits>
#include <span>

#include "kernels/cpu/avx2/context_pool_weights.h"
#include "kernels/cpu/avx2/math.h"
#include "kernels/cpu/avx2/tile.h"
#include "kernels/cpu/context_pool_scratch.h"
#include "kernels/cpu/ops.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

constexpr int64_t kPanel = 16;

// Columns [column, column + 16) of x for the tokens from `first_token` on, `stride` floats apart.
struct Panel {
  int64_t column;
  const float* x;
  int64_t stride;
  int64_t first_token;
};

template <int kRows, typename Lanes>
void Multiply(const ContextPoolParams& p, const Sequence& sequence, const Tile& tile,
              const Panel& panel, const Lanes& lanes) {
  __m256 y[kRows][2] = {};
  MultiplyAdd<kRows>(tile.weights, tile.stride,
                     panel.x + (tile.begin - panel.first_token) * panel.stride, panel.stride,
                     tile.end - tile.begin, y);
  const float* x = sequence.x + tile.row * p.x_stride + panel.column;
  float* out = sequence.out + tile.row * p.out_stride + panel.column;
  if (p.residual != PoolResidual::kNone) {
    // x + gate (y - x), or x + y.
    const bool adds = p.residual == PoolResidual::kAdd;
    const __m256 gate = _mm256_set1_ps(adds ? 1.0f : p.gate);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      __m256 own[2];
      lanes.Load(x + r * p.x_stride, own);
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m256 change = adds ? y[r][half] : _mm256_sub_ps(y[r][half], own[half]);
        y[r][half] = _mm256_fmadd_ps(gate, change, own[half]);
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) lanes.Store(out + r * p.out_stride, y[r][0], y[r][1]);
}

// Tiles that are worked on together, column by column.
struct Block {
  Tile tiles[Scratch::kBlockRows / kTileRows];
  int64_t count = 0;
  int64_t begin = std::numeric_limits<int64_t>::max();
  int64_t end = 0;
  int64_t longest = 0;

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
    MakeWeights(p, sequence, tile);
    block.begin = std::min(block.begin, tile.begin);
    block.end = std::max(block.end, tile.end);
    block.longest = std::max(block.longest, tile.end - tile.begin);
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

template <typename Lanes>
void MultiplyPanel(const ContextPoolParams& p, const Sequence& sequence, const Block& block,
                   const Panel& panel, const Lanes& lanes) {
  for (const Tile& tile : block.used()) {
    WithRows(tile.rows, [&]<int kRows> { Multiply<kRows>(p, sequence, tile, panel, lanes); });
  }
}

// Windows up to this long are read where they are: their panels stay in the first-level cache
// although their rows are far apart. Nor are they packed for a few tiles.
constexpr int64_t kPackedWindow = 32;
constexpr int64_t kPackedTiles = 4;

void RunRows(const ContextPoolParams& p, const Sequence& sequence, int64_t row, int64_t row_end,
             const Scratch& scratch) {
  FindPeaks(sequence, scratch.peaks);
  const Block block = MakeBlock(p, sequence, row, row_end, scratch);
  const bool packs = block.longest > kPackedWindow && block.count >= kPackedTiles;
  for (int64_t column = 0; column < p.columns; column += kPanel) {
    const bool whole = column + kPanel <= p.columns;
    Panel panel = {.column = column,
                   .x = sequence.x + block.begin * p.x_stride + column,
                   .stride = p.x_stride,
                   .first_token = block.begin};
    // Reading a partial panel where it is would pass the end of a row.
    if (packs || !whole) Pack(p, sequence, block, panel, scratch.packed);
    if (whole) {
      MultiplyPanel(p, sequence, block, panel, AllPairLanes());
    } else {
      MultiplyPanel(p, sequence, block, panel, PairLanes(p.columns - column));
    }
  }
}

// Of sequence `index`: its prefix tokens and the tiles that begin among tokens [begin, end).
void RunTokens(const ContextPoolParams& p, int64_t index, int64_t begin, int64_t end,
               const Scratch& scratch) {
  const SequenceRange range(p, index);
  const auto* x = static_cast<const float*>(p.x);
  auto* out = static_cast<float*>(p.out);
  for (int64_t token = std::max(begin, range.begin); token < std::min(end, range.pooled); ++token) {
    std::memcpy(out + token * p.out_stride, x + token * p.x_stride, p.columns * sizeof(float));
  }
  const Sequence sequence(p, range);
  const int64_t row = Scratch::RowTiles(std::max<int64_t>(0, begin - range.pooled)) * kTileRows;
  const int64_t row_end = std::min(sequence.n, end - range.pooled);
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
