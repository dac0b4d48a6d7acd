// The plain form of ContextPool: the oracle of the vectorised ones. Nothing is skipped.

#include <algorithm>
#include <cmath>

#include "kernels/cpu/context_pool_formula.h"
#include "kernels/cpu/context_pool_scratch.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/reference/rows.h"

namespace contextpool::kernels::cpu::reference {
namespace {

// The taps of one sequence's n pooled tokens become the hidden vectors H, each written over its own
// token's last tap: that was read half a kernel before.
void Hidden(const ContextPoolSupportParams& p, float* taps, int64_t n) {
  const int64_t half = p.kernel_size / 2;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t c = 0; c < p.bottleneck; ++c) {
      float sum = 0;
      for (int64_t tap = 0; tap < p.kernel_size; ++tap) {
        const int64_t j = i + tap - half;
        if (j >= 0 && j < n) sum += taps[j * p.taps_stride + tap * p.bottleneck + c];
      }
      taps[i * p.taps_stride + (p.kernel_size - 1) * p.bottleneck + c] =
          Activate(p.activation, sum);
    }
  }
}

// One of the second convolution's two outputs for token i.
float Output(const ContextPoolSupportParams& p, const float* taps, int64_t n, int64_t i,
             int64_t output) {
  const int64_t half = p.kernel_size / 2;
  float sum = p.conv2_bias[output];
  for (int64_t tap = 0; tap < p.kernel_size; ++tap) {
    const int64_t j = i + tap - half;
    if (j < 0 || j >= n) continue;
    const float* hidden = taps + j * p.taps_stride + (p.kernel_size - 1) * p.bottleneck;
    const float* weight = p.conv2_weight + (tap * 2 + output) * p.bottleneck;
    for (int64_t c = 0; c < p.bottleneck; ++c) sum += hidden[c] * weight[c];
  }
  return sum;
}

void PoolRow(const ContextPoolParams& p, const Sequence& sequence, int64_t i, float* weights) {
  const float falloff = Falloff(sequence.support_size[i]);
  float divisor = p.normalization == PoolNormalization::kMean ? static_cast<float>(sequence.n) : 1;
  float sum = 0;
  for (int64_t j = 0; j < sequence.n; ++j) {
    const auto distance = static_cast<float>(i - j);
    weights[j] = std::exp2(sequence.log_weight[j] - falloff * distance * distance);
    sum += weights[j];
  }
  if (p.normalization == PoolNormalization::kSum) divisor = sum;
  for (int64_t c = 0; c < p.columns; ++c) {
    float y = 0;
    for (int64_t j = 0; j < sequence.n; ++j) y += weights[j] * sequence.x[j * p.x_stride + c];
    y /= divisor;
    const float x = sequence.x[i * p.x_stride + c];
    if (p.residual == PoolResidual::kAdd) y = x + y;
    if (p.residual == PoolResidual::kGate) y = x + p.gate * (y - x);
    sequence.out[i * p.out_stride + c] = y;
  }
}

}  // namespace

void ContextPoolSupport(const ContextPoolSupportParams& p, CpuStream& stream) {
  ForSupport(p, stream, [&](float* taps, int64_t n, float* a, float* b) {
    Hidden(p, taps, n);
    for (int64_t i = 0; i < n; ++i) {
      a[i] = Output(p, taps, n, i, 0);
      b[i] = Output(p, taps, n, i, 1);
    }
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
    const Sequence sequence(p, range);
    const ContextPoolScratch scratch(p.workspace, p.max_length, thread);
    for (int64_t i = 0; i < sequence.n; ++i) PoolRow(p, sequence, i, scratch.weights);
    using Scratch = ContextPoolScratch;
    Count(p.tiles, Scratch::RowTiles(sequence.n) * Scratch::Tiles(sequence.n), 0);
  });
}

}  // namespace contextpool::kernels::cpu::reference
