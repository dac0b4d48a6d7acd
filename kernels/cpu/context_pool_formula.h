// What ContextPool's implementations share: a sequence's place in the batch, and the way from the
// network's two numbers to log weights and support sizes, for extreme numbers too. In an unnamed
// namespace because files compiled for different instruction sets include it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/context_pool.h"
#include "kernels/cpu_stream.h"

namespace contextpool::kernels::cpu {
namespace {

constexpr float kLog2E = 1.44269504f;

// Of sequence `index` of a batch: where its tokens begin, where those that are pooled do, and where
// both end.
struct SequenceRange {
  template <typename Params>
  SequenceRange(const Params& p, int64_t index)
      : begin(p.cu_lengths[index]),
        pooled(std::min<int64_t>(begin + p.prefix, p.cu_lengths[index + 1])),
        end(p.cu_lengths[index + 1]) {}

  int64_t begin;
  int64_t pooled;
  int64_t end;
};

// One sequence's pooled tokens.
struct Sequence {
  Sequence(const ContextPoolParams& p, const SequenceRange& range)
      : x(static_cast<const float*>(p.x) + range.pooled * p.x_stride),
        log_weight(p.log_weight + range.pooled),
        support_size(p.support_size + range.pooled),
        out(static_cast<float*>(p.out) + range.pooled * p.out_stride),
        n(range.end - range.pooled) {}

  const float* x;  // [n, columns]
  const float* log_weight;
  const float* support_size;
  float* out;
  int64_t n;
};

// NaN stays NaN here and below.
inline float ClampLogWeight(float log_weight) {
  return std::clamp(log_weight, kMinLogWeight, kMaxLogWeight);
}

struct SoftmaxSum {
  SoftmaxSum(const float* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) peak = std::max(peak, x[i]);
    for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - peak);
  }

  float peak = -std::numeric_limits<float>::infinity();
  float sum = 0;  // of exp(x - peak)
};

// a [n] to log2 of the weights, in place.
inline void ToLogWeights(PoolWeight weight, int64_t n, float* a) {
  switch (weight) {
    case PoolWeight::kOne:
      std::fill_n(a, n, 0.0f);
      return;
    case PoolWeight::kExp:
      for (int64_t i = 0; i < n; ++i) a[i] = ClampLogWeight(a[i] * kLog2E);
      return;
    case PoolWeight::kSigmoid:
      // log(sigmoid(a)) = min(a, 0) - log(1 + exp(-|a|)): no exponential overflows.
      for (int64_t i = 0; i < n; ++i) {
        const float log = std::min(a[i], 0.0f) - std::log1p(std::exp(-std::abs(a[i])));
        a[i] = ClampLogWeight(log * kLog2E);
      }
      return;
    case PoolWeight::kSoftmax: {
      const SoftmaxSum softmax(a, n);
      const float log_sum = std::log2(softmax.sum);
      for (int64_t i = 0; i < n; ++i) {
        a[i] = ClampLogWeight((a[i] - softmax.peak) * kLog2E - log_sum);
      }
    }
  }
}

// b [n] to support sizes in tokens, in place.
inline void ToSupportSizes(const ContextPoolSupportParams& p, int64_t n, float* b) {
  const float largest = p.r * (p.fixed_n > 0 ? p.fixed_n : static_cast<float>(n));
  switch (p.size) {
    case SupportSize::kFixed:
      std::fill_n(b, n, p.fixed_size);
      return;
    case SupportSize::kSigmoid:
      for (int64_t i = 0; i < n; ++i) b[i] = largest / (1.0f + std::exp(-b[i]));
      return;
    case SupportSize::kSoftmax: {
      const SoftmaxSum softmax(b, n);
      for (int64_t i = 0; i < n; ++i) b[i] = largest * std::exp(b[i] - softmax.peak) / softmax.sum;
    }
  }
}

// One task per sequence. network(taps, n, a, b) computes the two numbers of n pooled tokens.
template <typename Network>
void ForSupport(const ContextPoolSupportParams& p, CpuStream& stream, const Network& network) {
  stream.ParallelFor(p.sequences, [&](int64_t index, int) {
    const SequenceRange range(p, index);
    const int64_t prefix = range.pooled - range.begin;
    const int64_t n = range.end - range.pooled;
    float* log_weight = p.log_weight + range.pooled;
    float* support_size = p.support_size + range.pooled;
    std::fill_n(p.log_weight + range.begin, prefix, -std::numeric_limits<float>::infinity());
    std::fill_n(p.support_size + range.begin, prefix, 0.0f);
    if (Learned(p.weight, p.size)) {
      network(static_cast<float*>(p.taps) + range.pooled * p.taps_stride, n, log_weight,
              support_size);
    }
    ToLogWeights(p.weight, n, log_weight);
    ToSupportSizes(p, n, support_size);
  });
}

// c of the tokens whose sizes these are: a token at distance d counts 2^-(c d^2) times.
inline float Falloff(float support_size) {
  return kLog2E / (2.0f * support_size * support_size + kSupportEps);
}

}  // namespace
}  // namespace contextpool::kernels::cpu
