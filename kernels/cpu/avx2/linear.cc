// Linear layers from packed weights. One panel of weights (16 columns, up to kDepth deep, 24 KiB)
// stays in the first-level cache while the rows of a block pass by; the block's part of x stays in
// the second level. Bias, activation and residual are applied while a tile is in registers, the
// normalisation while the block is in the cache.

#include <algorithm>

#include "kernels/cpu/avx2/math.h"
#include "kernels/cpu/avx2/rows.h"
#include "kernels/cpu/avx2/tile.h"
#include "kernels/cpu/ops.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

constexpr int64_t kDepth = 384;
constexpr int64_t kBlockRows = 12 * kTileRows;

struct Block {
  int64_t row_begin, row_end;
  int64_t panel_begin, panel_end;
};

// Columns of one panel over `depth` of x's columns, starting at `k`.
struct Slice {
  int64_t column;
  int64_t k;
  int64_t depth;
  const float* weight;
};

template <Activation kActivation>
void Activate(__m256 (&pair)[2]) {
  pair[0] = Activate<kActivation>(pair[0]);
  pair[1] = Activate<kActivation>(pair[1]);
}

template <Activation kActivation, int kRows>
void Tile(const LinearParams& p, const Slice& slice, int64_t row) {
  const PairLanes lanes(p.out_columns - slice.column);
  float* out = static_cast<float*>(p.out) + row * p.out_stride + slice.column;
  __m256 acc[kRows][2];
  if (slice.k > 0) {
    for (int i = 0; i < kRows; ++i) lanes.Load(out + i * p.out_stride, acc[i]);
  } else {
    __m256 bias[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    if (p.bias != nullptr) lanes.Load(static_cast<const float*>(p.bias) + slice.column, bias);
    for (int i = 0; i < kRows; ++i) {
      acc[i][0] = bias[0];
      acc[i][1] = bias[1];
    }
  }
  const float* x = static_cast<const float*>(p.x) + row * p.x_stride + slice.k;
  MultiplyAdd<kRows>(x, p.x_stride, slice.weight, kPanelColumns, slice.depth, acc);
  const bool last = slice.k + slice.depth == p.in_columns;
  for (int i = 0; i < kRows; ++i) {
    if (last) {
      if (!p.activates_sum) Activate<kActivation>(acc[i]);
      if (p.residual != nullptr) {
        __m256 residual[2];
        lanes.Load(
            static_cast<const float*>(p.residual) + (row + i) * p.residual_stride + slice.column,
            residual);
        acc[i][0] = _mm256_add_ps(acc[i][0], residual[0]);
        acc[i][1] = _mm256_add_ps(acc[i][1], residual[1]);
      }
      if (p.activates_sum) Activate<kActivation>(acc[i]);
    }
    lanes.Store(out + i * p.out_stride, acc[i][0], acc[i][1]);
  }
}

template <Activation kActivation>
void Multiply(const LinearParams& p, const Block& block) {
  const float* weight = static_cast<const float*>(p.packed_weight);
  for (int64_t k = 0; k < p.in_columns; k += kDepth) {
    for (int64_t panel = block.panel_begin; panel < block.panel_end; ++panel) {
      const Slice slice = {panel * kPanelColumns, k, std::min(kDepth, p.in_columns - k),
                           weight + (panel * p.in_columns + k) * kPanelColumns};
      int64_t row = block.row_begin;
      for (; row + kTileRows <= block.row_end; row += kTileRows) {
        Tile<kActivation, kTileRows>(p, slice, row);
      }
      if (row == block.row_end) continue;
      WithRows(block.row_end - row, [&]<int kRows> { Tile<kActivation, kRows>(p, slice, row); });
    }
  }
}

void Multiply(const LinearParams& p, const Block& block) {
  switch (p.activation) {
    case Activation::kNone:
      return Multiply<Activation::kNone>(p, block);
    case Activation::kGelu:
      return Multiply<Activation::kGelu>(p, block);
    case Activation::kGeluTanh:
      return Multiply<Activation::kGeluTanh>(p, block);
    case Activation::kRelu:
      return Multiply<Activation::kRelu>(p, block);
    case Activation::kTanh:
      return Multiply<Activation::kTanh>(p, block);
    case Activation::kLeakyRelu:
      return Multiply<Activation::kLeakyRelu>(p, block);
  }
}

void Normalize(const LinearParams& p, int64_t row_begin, int64_t row_end) {
  for (int64_t row = row_begin; row < row_end; ++row) {
    float* out = static_cast<float*>(p.out) + row * p.out_stride;
    NormalizeRow(out, static_cast<const float*>(p.gamma), static_cast<const float*>(p.beta),
                 p.out_columns, p.eps, out);
  }
}

}  // namespace

void Linear(const LinearParams& p, CpuStream& stream) {
  const int64_t panels = (p.out_columns + kPanelColumns - 1) / kPanelColumns;
  const int64_t tiles = (p.rows + kTileRows - 1) / kTileRows;
  const int64_t threads = stream.threads();
  // Enough rows: each task takes rows and all columns, as evenly as whole tiles allow.
  if (p.rows >= threads * kBlockRows) {
    const int64_t waves = (p.rows + threads * kBlockRows - 1) / (threads * kBlockRows);
    const int64_t tasks = std::min(tiles, threads * waves);
    stream.ParallelFor(tasks, [&](int64_t task, int) {
      const Block block = {tiles * task / tasks * kTileRows,
                           std::min(p.rows, tiles * (task + 1) / tasks * kTileRows), 0, panels};
      Multiply(p, block);
      if (p.gamma != nullptr) Normalize(p, block.row_begin, block.row_end);
    });
    return;
  }
  // Few rows: each task takes all rows and some columns; whole rows exist only after all of them.
  // More tasks than threads, so that a thread that lost its CPU is not waited for.
  const int64_t tasks = std::min(panels, threads > 1 ? 4 * threads : 1);
  stream.ParallelFor(tasks, [&](int64_t task, int) {
    Multiply(p, {0, p.rows, panels * task / tasks, panels * (task + 1) / tasks});
  });
  if (p.gamma == nullptr) return;
  const int64_t norm_tasks = std::min(p.rows, threads);
  stream.ParallelFor(norm_tasks, [&](int64_t task, int) {
    Normalize(p, p.rows * task / norm_tasks, p.rows * (task + 1) / norm_tasks);
  });
}

}  // namespace contextpool::kernels::cpu::avx2
