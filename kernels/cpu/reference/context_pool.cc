// The plain form of ContextPool: the oracle of the vectorised ones. Nothing is skipped.

#include <algorithm>
#include <cmath>

#include "kernels/cpu/context_pool_formula.h"
#include "kernels/cpu/context_pool_scratch.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/reference/rows.h"

namespace contextpool::kernels::cpu::reference {
namespace {

// The taps of one sequence's tokens become the hidden vectors H, each written over its own token's
// last tap: whoever reads that stands before the token and is done.
void Hidden(const ContextPoolSupportParams& p, float* taps, const Grid& grid) {
  const int64_t last = PoolTaps(p.kernel_size, p.grid_width) - 1;
  ForCells(grid, [&](int64_t row, int64_t column, int64_t i) {
    const Taps around(p, grid, row, column);
    for (int64_t c = 0; c < p.bottleneck; ++c) {
      float sum = 0;
      around.ForEach(
          [&](int64_t tap, int64_t j) { sum += taps[j * p.taps_stride + tap * p.bottleneck + c]; });
      taps[i * p.taps_stride + last * p.bottleneck + c] = Activate(p.activation, sum);
    }
  });
}

// One of the second convolution's two outputs for each token.
void Output(const ContextPoolSupportParams& p, const float* taps, const Grid& grid, int64_t output,
            float* out) {
  const int64_t last = PoolTaps(p.kernel_size, p.grid_width) - 1;
  ForCells(grid, [&](int64_t row, int64_t column, int64_t i) {
    float sum = p.conv2_bias[output];
    Taps(p, grid, row, column).ForEach([&](int64_t tap, int64_t j) {
      const float* hidden = taps + j * p.taps_stride + last * p.bottleneck;
      const float* weight = p.conv2_weight + (tap * 2 + output) * p.bottleneck;
      for (int64_t c = 0; c < p.bottleneck; ++c) sum += hidden[c] * weight[c];
    });
    out[i] = sum;
  });
}

// Output `index`, centred on (row, column) of the grid.
void PoolRow(const ContextPoolParams& p, const Sequence& sequence, int64_t index, int64_t row,
             int64_t column, float* weights) {
  const Grid& grid = sequence.grid;
  const int64_t i = row * grid.width + column;
  const float falloff = Falloff(sequence.support_size[i]);
  float divisor = p.normalization == PoolNormalization::kMean ? static_cast<float>(sequence.n) : 1;
  float sum = 0;
  ForCells(grid, [&](int64_t other_row, int64_t other_column, int64_t j) {
    const auto down = static_cast<float>(row - other_row);
    const auto right = static_cast<float>(column - other_column);
    weights[j] = std::exp2(sequence.log_weight[j] - falloff * (down * down + right * right));
    sum += weights[j];
  });
  if (p.normalization == PoolNormalization::kSum) divisor = sum;
  for (int64_t c = 0; c < p.columns; ++c) {
    float y = 0;
    for (int64_t j = 0; j < sequence.n; ++j) y += weights[j] * sequence.x[j * p.x_stride + c];
    y /= divisor;
    const float x = sequence.x[i * p.x_stride + c];
    if (p.residual == PoolResidual::kAdd) y = x + y;
    if (p.residual == PoolResidual::kGate) y = x + p.gate * (y - x);
    sequence.out[index * p.out_stride + c] = y;
  }
}

}  // namespace

void ContextPoolSupport(const ContextPoolSupportParams& p, CpuStream& stream) {
  ForSupport(p, stream, [&](float* taps, int64_t n, float* a, float* b) {
    const Grid grid(n, p.grid_width);
    Hidden(p, taps, grid);
    Output(p, taps, grid, 0, a);
    Output(p, taps, grid, 1, b);
  });
}

void ContextPool(const ContextPoolParams& p, CpuStream& stream) {
  stream.ParallelFor(p.sequences, [&](int64_t index, int thread) {
    const SequenceRange range(p, index);
    const auto* x = static_cast<const float*>(p.x);
    auto* out = static_cast<float*>(p.out);
    for (int64_t token = range.begin; token < range.pooled; ++token) {
      std::copy_n(x + token * p.x_stride, p.columns, out + token * p.out_stride);
    }
    const Sequence sequence(p, index);
    const ContextPoolScratch scratch(p.workspace, p.max_length, thread);
    const PoolOutputs& outputs = sequence.outputs;
    for (int64_t i = 0; i < outputs.count(); ++i) {
      PoolRow(p, sequence, i, sequence.CentreRow(i / outputs.columns),
              sequence.CentreColumn(i % outputs.columns), scratch.weights);
    }
    const Grid& grid = sequence.grid;
    using Scratch = ContextPoolScratch;
    Count(
        p.tiles,
        outputs.rows * Scratch::RowTiles(outputs.columns) * grid.rows * Scratch::Tiles(grid.width),
        0);
  });
}

}  // namespace contextpool::kernels::cpu::reference
