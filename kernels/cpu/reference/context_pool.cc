// The plain form of ContextPool: the oracle of the vectorised ones. Nothing is skipped.

#include <algorithm>
#include <cmath>

#include "kernels/cpu/context_pool_scratch.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/reference/rows.h"
#include "kernels/cpu/support.h"

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

// One sequence's pooled tokens.
struct Tokens {
  const float* x;  // [n, columns]
  const float* log_weight;
  const float* support_size;
  float* out;
  int64_t n;
};

void PoolRow(const ContextPoolParams& p, const Tokens& tokens, int64_t i, float* weights) {
  const float falloff = Falloff(tokens.support_size[i]);
  float divisor = p.normalization == PoolNormalization::kMean ? static_cast<float>(tokens.n) : 1;
  float sum = 0;
  for (int64_t j = 0; j < tokens.n; ++j) {
    const auto distance = static_cast<float>(i - j);
    weights[j] = std::exp2(tokens.log_weight[j] - falloff * distance * distance);
    sum += weights[j];
  }
  if (p.normalization == PoolNormalization::kSum) divisor = sum;
  for (int64_t c = 0; c < p.columns; ++c) {
    float y = 0;
    for (int64_t j = 0; j < tokens.n; ++j) y += weights[j] * tokens.x[j * p.x_stride + c];
    y /= divisor;
    const float x = tokens.x[i * p.x_stride + c];
    if (p.residual == PoolResidual::kAdd) y = x + y;
    if (p.residual == PoolResidual::kGate) y = x + p.gate * (y - x);
    tokens.out[i * p.out_stride + c] = y;
  }
}

}  // namespace

void ContextPoolSupport(const ContextPoolSupportParams& p, CpuStream& stream) {
  stream.ParallelFor(p.sequences, [&](int64_t sequence, int) {
    const int64_t begin = p.cu_lengths[sequence];
    const int64_t length = p.cu_lengths[sequence + 1] - begin;
    const int64_t prefix = std::min(p.prefix, length);
    const int64_t n = length - prefix;
    float* log_weight = p.log_weight + begin;
    float* support_size = p.support_size + begin;
    std::fill_n(log_weight, prefix, -INFINITY);
    std::fill_n(support_size, prefix, 0.0f);
    log_weight += prefix;
    support_size += prefix;
    if (Learned(p)) {
      float* taps = static_cast<float*>(p.taps) + (begin + prefix) * p.taps_stride;
      Hidden(p, taps, n);
      for (int64_t i = 0; i < n; ++i) {
        log_weight[i] = Output(p, taps, n, i, 0);
        support_size[i] = Output(p, taps, n, i, 1);
      }
    }
    ToLogWeights(p.weight, n, log_weight);
    ToSupportSizes(p, n, support_size);
  });
}

void ContextPool(const ContextPoolParams& p, CpuStream& stream) {
  stream.ParallelFor(p.sequences, [&](int64_t sequence, int thread) {
    const int64_t begin = p.cu_lengths[sequence];
    const int64_t length = p.cu_lengths[sequence + 1] - begin;
    const int64_t prefix = std::min(p.prefix, length);
    const float* x = static_cast<const float*>(p.x) + begin * p.x_stride;
    float* out = static_cast<float*>(p.out) + begin * p.out_stride;
    for (int64_t i = 0; i < prefix; ++i) {
      std::copy_n(x + i * p.x_stride, p.columns, out + i * p.out_stride);
    }
    const Tokens tokens = {.x = x + prefix * p.x_stride,
                           .log_weight = p.log_weight + begin + prefix,
                           .support_size = p.support_size + begin + prefix,
                           .out = out + prefix * p.out_stride,
                           .n = length - prefix};
    const ContextPoolScratch scratch(p.workspace, p.max_length, thread);
    for (int64_t i = 0; i < tokens.n; ++i) PoolRow(p, tokens, i, scratch.weights);
    using Scratch = ContextPoolScratch;
    Count(p.tiles, Scratch::RowTiles(tokens.n) * Scratch::Tiles(tokens.n), 0);
  });
}

}  // namespace contextpool::kernels::cpu::reference
