// The softmax over a sequence's pooled tokens for ContextPoolSupport, in place of the numbers that
// its first kernel left where the results belong: one block a sequence.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "kernels/cuda/context_pool_numbers.cuh"
#include "kernels/cuda/context_pool_tokens.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/warp_reduce.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

struct PoolSoftmaxArgs {
  Global<const int32_t> cu_lengths;
  Global<float> log_weight;
  Global<float> support_size;
  PoolNumbers numbers;
  int prefix;
  int grid_width;
};

struct PoolSoftmaxSum {
  float peak;
  // Of exp(x - peak).
  float sum;
};

// One for all threads of the block; `partial` has a place for each warp.
template <int kThreads, bool kIsMax>
SIMT_DEVICE float ReduceBlock(float value, Shared<float> partial) {
  constexpr int kWarps = kThreads / 32;
  const float reduced = kIsMax ? WarpMax(value) : WarpSum(value);
  // Until all have read what was there before.
  SyncThreads();
  if (ThreadIdx().x % 32 == 0) partial.Store(ThreadIdx().x / 32, reduced);
  SyncThreads();
  float result = partial.Load(0);
  SIMT_UNROLL
  for (int warp = 1; warp < kWarps; ++warp) {
    const float other = partial.Load(warp);
    result = kIsMax ? fmaxf(result, other) : result + other;
  }
  return result;
}

template <int kThreads>
SIMT_DEVICE PoolSoftmaxSum SumSoftmax(Global<float> x, const PooledTokens& tokens,
                                      Shared<float> partial) {
  float peak = -INFINITY;
  for (int i = ThreadIdx().x; i < tokens.count; i += kThreads) {
    peak = fmaxf(peak, x.Load(tokens.first + i));
  }
  peak = ReduceBlock<kThreads, true>(peak, partial);
  float sum = 0;
  for (int i = ThreadIdx().x; i < tokens.count; i += kThreads) {
    sum += expf(x.Load(tokens.first + i) - peak);
  }
  return {peak, ReduceBlock<kThreads, false>(sum, partial)};
}

// Block: sequence.
template <int kThreads>
SIMT_KERNEL(kThreads, 2048 / kThreads)
void PoolSoftmaxKernel(PoolSoftmaxArgs args) {
  SIMT_SHARED(float, partial, kThreads / 32);
  const int begin = args.cu_lengths.Load(BlockIdx().x);
  const int length = args.cu_lengths.Load(BlockIdx().x + 1) - begin;
  const PooledTokens tokens = FindPooledTokens(begin, length, args.prefix, args.grid_width);
  if (tokens.count == 0) return;
  if (args.numbers.weight == PoolWeight::kSoftmax) {
    const PoolSoftmaxSum softmax = SumSoftmax<kThreads>(args.log_weight, tokens, partial);
    const float log_sum = log2f(softmax.sum);
    for (int i = ThreadIdx().x; i < tokens.count; i += kThreads) {
      const float a = args.log_weight.Load(tokens.first + i);
      args.log_weight.Store(
          tokens.first + i,
          ClampLogWeight((a - softmax.peak) * std::numbers::log2e_v<float> - log_sum));
    }
  }
  if (args.numbers.size == SupportSize::kSoftmax) {
    const PoolSoftmaxSum softmax = SumSoftmax<kThreads>(args.support_size, tokens, partial);
    const float scale = args.numbers.LargestSize(tokens) / softmax.sum;
    for (int i = ThreadIdx().x; i < tokens.count; i += kThreads) {
      const float b = args.support_size.Load(tokens.first + i);
      args.support_size.Store(tokens.first + i, scale * expf(b - softmax.peak));
    }
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
