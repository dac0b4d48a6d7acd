// What ContextPool's implementations share: a sequence's place in the batch, how its tokens lie,
// and the way from the network's two numbers to log weights and support sizes, for extreme numbers
// too. In an unnamed namespace because files compiled for different instruction sets include it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

#include "kernels/context_pool.h"
#include "kernels/cpu_stream.h"

namespace contextpool::kernels::cpu {
namespace {

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

// How n pooled tokens lie, row by row. Without a grid they are one row.
struct Grid {
  Grid(int64_t n, int64_t grid_width)
      : width(grid_width > 0 ? grid_width : n), rows(width > 0 ? n / width : 0) {}

  int64_t width;
  int64_t rows;
};

// Of a convolution around (row, column): the taps that lie on the grid. The others see zeros.
class Taps {
 public:
  Taps(const ContextPoolSupportParams& p, const Grid& grid, int64_t row, int64_t column)
      : kernel_size_(p.kernel_size), width_(grid.width) {
    const int64_t half = p.kernel_size / 2;
    const int64_t above = p.grid_width > 0 ? half : 0;
    first_ = std::max<int64_t>(0, half - column);
    last_ = std::min(p.kernel_size, grid.width + half - column);
    first_row_ = std::max<int64_t>(0, above - row);
    last_row_ = std::min(2 * above + 1, grid.rows + above - row);
    corner_ = (row - above) * grid.width + column - half;
  }

  // body(tap, token).
  template <typename Body>
  void ForEach(const Body& body) const {
    for (int64_t row = first_row_; row < last_row_; ++row) {
      for (int64_t tap = first_; tap < last_; ++tap) {
        body(row * kernel_size_ + tap, corner_ + row * width_ + tap);
      }
    }
  }

 private:
  int64_t kernel_size_, width_;
  int64_t first_, last_, first_row_, last_row_;
  int64_t corner_;  // the token of tap 0, if there is one
};

// body(row, column, token) for each token.
template <typename Body>
void ForCells(const Grid& grid, const Body& body) {
  for (int64_t row = 0; row < grid.rows; ++row) {
    for (int64_t column = 0; column < grid.width; ++column) {
      body(row, column, row * grid.width + column);
    }
  }
}

// Which row of `out` is the first of sequence `index`; of the number of sequences: how many rows
// there are.
inline int64_t FirstOutput(const ContextPoolParams& p, int64_t index) {
  return p.outputs.rows > 0 ? index * p.outputs.count() : p.cu_lengths[index];
}

// The pooled tokens of sequence `index`, and what is made of them.
struct Sequence {
  Sequence(const ContextPoolParams& p, int64_t index) : Sequence(p, SequenceRange(p, index)) {
    first_output += FirstOutput(p, index);
    out = static_cast<float*>(p.out) + first_output * p.out_stride;
  }

  int64_t CentreRow(int64_t row) const {
    return std::clamp<int64_t>(row * outputs.stride + outputs.first_row, 0, grid.rows - 1);
  }
  int64_t CentreColumn(int64_t column) const {
    return std::clamp<int64_t>(column * outputs.stride + outputs.first_column, 0, grid.width - 1);
  }

  const float* x;  // [n, columns]
  const float* log_weight;
  const float* support_size;
  int64_t n;
  Grid grid;
  // Every token's without PoolOutputs.
  PoolOutputs outputs;
  int64_t first_output;  // in the batch
  float* out = nullptr;  // [outputs.count(), columns]

 private:
  Sequence(const ContextPoolParams& p, const SequenceRange& range)
      : x(static_cast<const float*>(p.x) + range.pooled * p.x_stride),
        log_weight(p.log_weight + range.pooled),
        support_size(p.support_size + range.pooled),
        n(range.end - range.pooled),
        grid(n, p.grid_width),
        outputs(p.outputs),
        first_output(range.pooled - range.begin) {
    if (outputs.rows == 0) outputs = {.rows = grid.rows, .columns = grid.width};
  }
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
      for (int64_t i = 0; i < n; ++i) a[i] = ClampLogWeight(a[i] * std::numbers::log2e_v<float>);
      return;
    case PoolWeight::kSigmoid:
      // log(sigmoid(a)) = min(a, 0) - log(1 + exp(-|a|)): no exponential overflows.
      for (int64_t i = 0; i < n; ++i) {
        const float log = std::min(a[i], 0.0f) - std::log1p(std::exp(-std::abs(a[i])));
        a[i] = ClampLogWeight(log * std::numbers::log2e_v<float>);
      }
      return;
    case PoolWeight::kSoftmax: {
      const SoftmaxSum softmax(a, n);
      const float log_sum = std::log2(softmax.sum);
      for (int64_t i = 0; i < n; ++i) {
        a[i] = ClampLogWeight((a[i] - softmax.peak) * std::numbers::log2e_v<float> - log_sum);
      }
    }
  }
}

// b [n] to support sizes in tokens, in place.
inline void ToSupportSizes(const ContextPoolSupportParams& p, int64_t n, float* b) {
  const Grid grid(n, p.grid_width);
  const int64_t length = p.n_is_side ? std::max(grid.rows, grid.width) : n;
  const float largest = p.r * (p.fixed_n > 0 ? p.fixed_n : static_cast<float>(length));
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
  return std::numbers::log2e_v<float> / (2.0f * support_size * support_size + kSupportEps);
}

}  // namespace
}  // namespace contextpool::kernels::cpu
