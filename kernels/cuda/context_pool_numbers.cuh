// From the parameter network's two numbers to log weights and support sizes, for extreme numbers
// too. NaN stays NaN.
#pragma once

#include <cmath>
#include <numbers>

#include "kernels/context_pool.h"
#include "kernels/cuda/context_pool_tokens.cuh"
#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// From the network's numbers to weights and sizes: ContextPoolSupportParams, in which the fields
// are explained.
struct PoolNumbers {
  PoolWeight weight;
  SupportSize size;
  float fixed_size;
  float r;
  float fixed_n;
  bool n_is_side;

  // r N.
  SIMT_DEVICE float LargestSize(const PooledTokens& tokens) const {
    const int rows = tokens.Rows();
    const int side = rows > tokens.width ? rows : tokens.width;
    const int n = n_is_side ? side : tokens.count;
    return r * (fixed_n > 0 ? fixed_n : static_cast<float>(n));
  }
};

SIMT_DEVICE float ClampLogWeight(float log_weight) {
  const float high = log_weight > kMaxLogWeight ? kMaxLogWeight : log_weight;
  return high < kMinLogWeight ? kMinLogWeight : high;
}

// With kSoftmax a is left as it is.
SIMT_DEVICE float LogWeightOf(PoolWeight weight, float a) {
  switch (weight) {
    case PoolWeight::kOne:
      return 0;
    case PoolWeight::kExp:
      return ClampLogWeight(a * std::numbers::log2e_v<float>);
    case PoolWeight::kSigmoid:
      // log(sigmoid(a)) without an exponential that overflows.
      return ClampLogWeight(((a > 0 ? 0 : a) - log1pf(expf(-fabsf(a)))) *
                            std::numbers::log2e_v<float>);
    case PoolWeight::kSoftmax:
      return a;
  }
  return a;
}

// With kSoftmax b is left as it is.
SIMT_DEVICE float SupportSizeOf(const PoolNumbers& numbers, const PooledTokens& tokens, float b) {
  switch (numbers.size) {
    case SupportSize::kFixed:
      return numbers.fixed_size;
    case SupportSize::kSigmoid:
      return numbers.LargestSize(tokens) / (1.0f + expf(-b));
    case SupportSize::kSoftmax:
      return b;
  }
  return b;
}

}  // namespace contextpool::kernels::SIMT_BACKEND
