// What the tests of ContextPoolSupport share: batches, and the formula in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/context_pool.h"

namespace contextpool::kernels {

// Of log weights; of sizes relative to the size plus 1.
inline constexpr double kSupportTolerance = 2e-5;

struct SupportBatch {
  std::vector<int32_t> cu_lengths = {0};
  // Its pointers and strides are filled in by Run.
  ContextPoolSupportParams params;
  std::vector<float> taps, conv2_weight, conv2_bias;
  // Between the taps of a token and those of the next.
  int64_t gap = 3;

  int64_t tokens() const { return cu_lengths.back(); }
  // Of the convolutions: rows x kernel_size taps.
  int64_t kernel_rows() const { return params.grid_width > 0 ? params.kernel_size : 1; }
  int64_t taps_size() const { return kernel_rows() * params.kernel_size * params.bottleneck; }
  int64_t stride() const { return taps_size() + gap; }
};

struct Support {
  std::vector<float> log_weight, support_size;
};

inline double ActivateInDouble(Activation activation, double x) {
  if (activation == Activation::kGelu) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  if (activation == Activation::kRelu) return std::max(x, 0.0);
  if (activation == Activation::kLeakyRelu) return x < 0 ? 0.01 * x : x;
  return x;
}

inline std::vector<double> SoftmaxInDouble(std::vector<double> x) {
  const double peak = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& v : x) sum += v = std::exp(v - peak);
  for (double& v : x) v /= sum;
  return x;
}

// One of the network's two numbers for pooled tokens [begin, end), in double precision.
inline std::vector<double> SupportNumbers(const SupportBatch& batch, int64_t begin, int64_t end,
                                          int64_t output) {
  const ContextPoolSupportParams& p = batch.params;
  const int64_t width = p.grid_width > 0 ? p.grid_width : end - begin;
  const int64_t taps = batch.kernel_rows() * p.kernel_size;
  // The token under a tap around i; -1: there is none.
  const auto neighbour = [&](int64_t i, int64_t tap) {
    const int64_t row = (i - begin) / width + tap / p.kernel_size - batch.kernel_rows() / 2;
    const int64_t column = (i - begin) % width + tap % p.kernel_size - p.kernel_size / 2;
    if (row < 0 || row >= (end - begin) / width || column < 0 || column >= width)
      return int64_t{-1};
    return begin + row * width + column;
  };
  std::vector<std::vector<double>> hidden(end - begin, std::vector<double>(p.bottleneck));
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t c = 0; c < p.bottleneck; ++c) {
      double sum = 0;
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t j = neighbour(i, tap);
        if (j >= 0) sum += batch.taps[j * batch.stride() + tap * p.bottleneck + c];
      }
      hidden[i - begin][c] = ActivateInDouble(p.activation, sum);
    }
  }
  std::vector<double> numbers;
  for (int64_t i = begin; i < end; ++i) {
    double sum = batch.conv2_bias[output];
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t j = neighbour(i, tap);
      for (int64_t c = 0; j >= 0 && c < p.bottleneck; ++c) {
        sum += hidden[j - begin][c] * batch.conv2_weight[(tap * 2 + output) * p.bottleneck + c];
      }
    }
    numbers.push_back(sum);
  }
  return numbers;
}

inline std::vector<double> PoolWeights(PoolWeight weight, std::vector<double> a) {
  if (weight == PoolWeight::kSoftmax && !a.empty()) return SoftmaxInDouble(a);
  for (double& v : a) {
    if (weight == PoolWeight::kSigmoid) v = 1 / (1 + std::exp(-v));
    if (weight == PoolWeight::kExp) v = std::exp(v);
    if (weight == PoolWeight::kOne) v = 1;
  }
  return a;
}

inline std::vector<double> SupportSizes(const ContextPoolSupportParams& p, std::vector<double> b) {
  double n = static_cast<double>(b.size());
  if (p.n_is_side && p.grid_width > 0) {
    n = std::max(n / static_cast<double>(p.grid_width), static_cast<double>(p.grid_width));
  }
  if (p.fixed_n > 0) n = p.fixed_n;
  if (p.size == SupportSize::kSoftmax && !b.empty()) b = SoftmaxInDouble(b);
  for (double& v : b) {
    if (p.size == SupportSize::kSigmoid) v = 1 / (1 + std::exp(-v));
    v = p.size == SupportSize::kFixed ? p.fixed_size : p.r * n * v;
  }
  return b;
}

}  // namespace contextpool::kernels
