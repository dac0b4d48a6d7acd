// Tiles of up to 6 rows, each with a window of tokens outside of which every weight is negligible:
// a rectangle of the grid, which is found from bounds on the weights first and narrowed when these
// are known. A window's weights are computed once and used by all columns, 16 at a time. Tasks are
// ranges of outputs, so that one long sequence occupies all threads; what a tile computes depends
// on its sequence alone.

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
  const int64_t width = sequence.grid.width;
  // Rows of the grid that lie whole in the window are one run of tokens.
  const bool whole = tile.width() == width;
  const int64_t runs = whole ? 1 : tile.window_rows();
  const int64_t tokens = whole ? tile.tokens() : tile.width();
  const float* first = panel.x + (tile.top * width + tile.begin - panel.first_token) * panel.stride;
  __m256 y[kRows][2] = {};
  MultiplyAdd<kRows>(tile.weights, tile.stride, first, panel.stride, tokens, y);
  // The first run, which is the only one of a text, stands apart: its sums stay in registers.
  for (int64_t run = 1; run < runs; ++run) {
    MultiplyAdd<kRows>(tile.weights + run * tokens, tile.stride, first + run * width * panel.stride,
                       panel.stride, tokens, y);
  }
  const float* x = sequence.x + tile.row * width * p.x_stride + panel.column;
  float* out = sequence.out + tile.first_output * p.out_stride + panel.column;
  if (p.residual != PoolResidual::kNone) {
    // x + gate (y - x), or x + y.
    const bool adds = p.residual == PoolResidual::kAdd;
    const __m256 gate = _mm256_set1_ps(adds ? 1.0f : p.gate);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      __m256 own[2];
      lanes.Load(x + tile.columns[r] * p.x_stride, own);
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

// The outputs of a sequence in tiles: each of their rows is divided as evenly as it can be, so that
// few tiles have fewer than 6.
struct OutputTiles {
  explicit OutputTiles(const PoolOutputs& outputs)
      : width(outputs.columns), per_row(Scratch::RowTiles(width)) {}

  int64_t Begin(int64_t tile_of_row) const { return tile_of_row * width / per_row; }
  // The first tile that begins at output `i` or after it.
  int64_t From(int64_t i) const {
    return i / width * per_row + (i % width * per_row + width - 1) / width;
  }
  // The window is not known yet.
  Tile At(const Sequence& sequence, int64_t index) const {
    const int64_t row = index / per_row;
    const int64_t begin = Begin(index % per_row);
    Tile tile;
    tile.first_output = row * width + begin;
    tile.rows = Begin(index % per_row + 1) - begin;
    tile.row = sequence.CentreRow(row);
    for (int64_t r = 0; r < tile.rows; ++r) tile.columns[r] = sequence.CentreColumn(begin + r);
    return tile;
  }

  int64_t width;
  int64_t per_row;
};

// Tiles that are worked on together, column by column.
struct Block {
  // One column of outputs has the most.
  Tile tiles[Scratch::kBlockRows];
  int64_t count = 0;
  // What their windows have together: tokens from the first of all to the last.
  int64_t begin = std::numeric_limits<int64_t>::max();
  int64_t end = 0;
  int64_t longest = 0;

  std::span<const Tile> used() const { return {tiles, static_cast<size_t>(count)}; }
};

// Of the tiles [first, last).
void MakeBlock(const ContextPoolParams& p, const Sequence& sequence, int64_t first, int64_t last,
               const Scratch& scratch, Block& block) {
  const Grid& grid = sequence.grid;
  const OutputTiles tiles(sequence.outputs);
  float* weights = scratch.weights;
  int64_t computed = 0;
  for (int64_t index = first; index < last; ++index) {
    Tile& tile = block.tiles[block.count++];
    tile = tiles.At(sequence, index);
    FindWindow(sequence, SkipRule(sequence, tile, p.skip_bits), scratch.peaks, tile);
    tile.weights = weights;
    tile.stride = WeightStride(tile);
    weights += tile.rows * tile.stride;
    MakeWeights(p, sequence, tile);
    block.begin = std::min(block.begin, tile.top * grid.width + tile.begin);
    block.end = std::max(block.end, (tile.bottom - 1) * grid.width + tile.end);
    block.longest = std::max(block.longest, tile.tokens());
    computed += tile.window_rows() * (Scratch::Tiles(tile.end) - tile.begin / Scratch::kTileTokens);
  }
  const int64_t all = block.count * grid.rows * Scratch::Tiles(grid.width);
  Count(p.tiles, computed, all - computed);
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

// Tiles [first, last).
void RunTiles(const ContextPoolParams& p, const Sequence& sequence, int64_t first, int64_t last,
              const Scratch& scratch) {
  FindPeaks(sequence, scratch.peaks);
  Block block;
  MakeBlock(p, sequence, first, last, scratch, block);
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

// Of sequence `index`: what outputs [begin, end) of the batch have of it, which are its prefix
// tokens and the tiles that begin there.
void RunOutputs(const ContextPoolParams& p, int64_t index, int64_t begin, int64_t end,
                const Scratch& scratch) {
  const Sequence sequence(p, index);
  const auto* x = static_cast<const float*>(p.x);
  auto* out = static_cast<float*>(p.out);
  const int64_t prefix_end = std::min(end, sequence.first_output);
  for (int64_t token = std::max(begin, FirstOutput(p, index)); token < prefix_end; ++token) {
    std::memcpy(out + token * p.out_stride, x + token * p.x_stride, p.columns * sizeof(float));
  }
  const int64_t count = sequence.outputs.count();
  if (count == 0) return;
  const OutputTiles tiles(sequence.outputs);
  const int64_t first = tiles.From(std::clamp<int64_t>(begin - sequence.first_output, 0, count));
  const int64_t last = tiles.From(std::clamp<int64_t>(end - sequence.first_output, 0, count));
  if (first < last) RunTiles(p, sequence, first, last, scratch);
}

// Whose output this is.
int64_t SequenceOf(const ContextPoolParams& p, int64_t output) {
  if (p.outputs.rows > 0) return output / p.outputs.count();
  const int32_t* end = p.cu_lengths + p.sequences + 1;
  return std::upper_bound(p.cu_lengths, end, output) - p.cu_lengths - 1;
}

}  // namespace

void ContextPool(const ContextPoolParams& p, CpuStream& stream) {
  const int64_t first = FirstOutput(p, 0);
  const int64_t outputs = FirstOutput(p, p.sequences) - first;
  // More tasks than threads, so that a thread that lost its CPU is not waited for.
  const int64_t share = stream.threads() > 1 ? outputs / (4 * stream.threads()) : outputs;
  const int64_t rows = std::clamp(Scratch::RowTiles(share) * kTileRows,
                                  static_cast<int64_t>(kTileRows), Scratch::kBlockRows);
  stream.ParallelFor((outputs + rows - 1) / rows, [&](int64_t task, int thread) {
    const Scratch scratch(p.workspace, p.max_length, thread);
    const int64_t begin = first + task * rows;
    const int64_t end = begin + rows;
    for (int64_t i = SequenceOf(p, begin); i < p.sequences && FirstOutput(p, i) < end; ++i) {
      RunOutputs(p, i, begin, end, scratch);
    }
  });
}

}  // namespace contextpool::kernels::cpu::avx2
