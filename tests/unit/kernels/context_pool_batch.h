// What the tests of ContextPool share: batches, the formula in double precision, and running one
// beside the other.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/context_pool.h"
#include "tests/unit/kernels/kernel_test.h"

namespace contextpool::kernels {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kSentinel = 77.0f;
// A weight's exponent of up to 128 is some roundings of 2^-18 off.
inline constexpr double kTolerance = 3e-5;
// Less may be zero.
inline constexpr double kSmallest = std::numeric_limits<float>::min();

// What one run takes and gives; x and out have rows further apart than they are long.
struct Batch {
  std::vector<int32_t> cu_lengths = {0};
  int64_t columns = 1;
  int64_t gap = 0;
  int64_t prefix = 0;
  int64_t grid_width = 0;
  PoolOutputs outputs = {};
  PoolNormalization normalization = PoolNormalization::kSum;
  PoolResidual residual = PoolResidual::kNone;
  float gate = 0;
  float skip_bits = 24;
  std::vector<float> x, log_weight, support_size;

  int64_t tokens() const { return cu_lengths.back(); }
  int64_t stride() const { return columns + gap; }
  int64_t sequences() const { return static_cast<int64_t>(cu_lengths.size()) - 1; }
  int64_t longest() const {
    int64_t longest = 0;
    for (int64_t s = 0; s < sequences(); ++s) {
      longest = std::max<int64_t>(longest, cu_lengths[s + 1] - cu_lengths[s]);
    }
    return longest;
  }
  // Rows that a run writes.
  int64_t rows() const { return outputs.rows > 0 ? sequences() * outputs.count() : tokens(); }
};

// The formula for one column of a row, in double precision: y and, beside it, what errors are
// relative to: those of rounding to the same sum with everything positive, those of what was
// dropped to the weights' sum times the largest x.
struct Sums {
  double y = 0;
  double size = 0;
  double mass = 0;
};

// What token i makes of the sequence whose pooled tokens are [begin, end).
inline std::vector<Sums> Formula(const Batch& batch, int64_t begin, int64_t end, int64_t i) {
  const int64_t width = batch.grid_width > 0 ? batch.grid_width : end - begin;
  const auto x = [&](int64_t j, int64_t c) -> double { return batch.x[j * batch.stride() + c]; };
  const double sigma = batch.support_size[i];
  double z = 0;
  double largest = 0;
  std::vector<Sums> row(batch.columns);
  for (int64_t j = begin; j < end; ++j) {
    const auto down = static_cast<double>((i - begin) / width - (j - begin) / width);
    const auto right = static_cast<double>((i - begin) % width - (j - begin) % width);
    const double p = std::exp2(static_cast<double>(batch.log_weight[j])) *
                     std::exp(-(down * down + right * right) / (2 * sigma * sigma + 1e-4));
    z += p;
    for (int64_t c = 0; c < batch.columns; ++c) {
      row[c].y += p * x(j, c);
      row[c].size += p * std::abs(x(j, c));
      largest = std::max(largest, std::abs(x(j, c)));
    }
  }
  double divisor = 1;
  if (batch.normalization == PoolNormalization::kSum) divisor = z;
  if (batch.normalization == PoolNormalization::kMean) divisor = static_cast<double>(end - begin);
  for (int64_t c = 0; c < batch.columns; ++c) {
    Sums& sums = row[c];
    sums.y /= divisor;
    sums.size /= divisor;
    sums.mass = z / divisor * largest;
    if (batch.residual == PoolResidual::kAdd) sums.y += x(i, c);
    if (batch.residual == PoolResidual::kGate) {
      sums.y = x(i, c) + static_cast<double>(batch.gate) * (sums.y - x(i, c));
    }
    if (batch.residual != PoolResidual::kNone) sums.size += std::abs(x(i, c));
  }
  return row;
}

// The token of [begin, end) that output `index` is centred on.
inline int64_t Centre(const Batch& batch, int64_t begin, int64_t end, int64_t index) {
  const PoolOutputs& outputs = batch.outputs;
  if (outputs.rows == 0) return begin + index;
  const int64_t width = batch.grid_width;
  const int64_t row = index / outputs.columns * outputs.stride + outputs.first_row;
  const int64_t column = index % outputs.columns * outputs.stride + outputs.first_column;
  return begin + std::clamp<int64_t>(row, 0, (end - begin) / width - 1) * width +
         std::clamp<int64_t>(column, 0, width - 1);
}

class ContextPoolTest : public KernelTest {
 protected:
  // Weights within a factor of 2^10, sizes from 0 to 8 tokens.
  Batch Make(const std::vector<int32_t>& lengths, int64_t columns, int64_t gap = 0) {
    Batch batch;
    for (int32_t length : lengths) batch.cu_lengths.push_back(batch.cu_lengths.back() + length);
    batch.columns = columns;
    batch.gap = gap;
    batch.x = Random(batch.tokens() * batch.stride());
    batch.log_weight = Random(batch.tokens(), 5);
    batch.support_size = Random(batch.tokens(), 8);
    for (float& size : batch.support_size) size = std::max(size, 0.0f);
    return batch;
  }

  // Sequences that are grids of so many rows each, behind so many prefix tokens.
  Batch MakeGrids(const std::vector<int32_t>& rows, int32_t width, int64_t columns,
                  int32_t prefix = 0) {
    std::vector<int32_t> lengths;
    for (int32_t count : rows) lengths.push_back(prefix + count * width);
    Batch batch = Make(lengths, columns, 3);
    batch.grid_width = width;
    batch.prefix = prefix;
    return batch;
  }

  // [rows, columns] dense.
  static std::vector<float> Run(const Batch& batch, int threads = 1,
                                ContextPoolTiles* tiles = nullptr) {
    // Poisoned: what is not written must not be read.
    const size_t floats = cpu::ContextPoolWorkspaceBytes(batch.longest(), threads) / sizeof(float);
    std::vector<float> workspace(floats + 1, std::nanf(""));
    workspace.back() = kSentinel;
    const int64_t out_stride = batch.columns + 2 * batch.gap;
    std::vector<float> out(batch.rows() * out_stride + 1, kSentinel);
    ShuffledStream stream(GetParam(), threads);
    const ContextPoolParams params = {.x = batch.x.data(),
                                      .log_weight = batch.log_weight.data(),
                                      .support_size = batch.support_size.data(),
                                      .cu_lengths = batch.cu_lengths.data(),
                                      .out = out.data(),
                                      .workspace = workspace.data(),
                                      .tiles = tiles,
                                      .normalization = batch.normalization,
                                      .residual = batch.residual,
                                      .gate = batch.gate,
                                      .skip_bits = batch.skip_bits,
                                      .sequences = batch.sequences(),
                                      .max_length = batch.longest(),
                                      .prefix = batch.prefix,
                                      .grid_width = batch.grid_width,
                                      .outputs = batch.outputs,
                                      .columns = batch.columns,
                                      .x_stride = batch.stride(),
                                      .out_stride = out_stride};
    EXPECT_EQ(cpu::ContextPool(params, &stream), Status::kOk);
    EXPECT_EQ(workspace.back(), kSentinel);
    std::vector<float> dense;
    for (size_t i = 0; i < out.size(); ++i) {
      const int64_t column = static_cast<int64_t>(i) % out_stride;
      if (i + 1 < out.size() && column < batch.columns) {
        dense.push_back(out[i]);
      } else {
        EXPECT_EQ(out[i], kSentinel) << i;
      }
    }
    return dense;
  }

  // Rounding errs in every sum; the bit rule may drop a share of the weights in addition.
  static void RunAndCompare(const Batch& batch, int threads, const std::string& what,
                            ContextPoolTiles* tiles = nullptr) {
    const std::vector<float> out = Run(batch, threads, tiles);
    for (int64_t s = 0; s < batch.sequences(); ++s) {
      const int64_t end = batch.cu_lengths[s + 1];
      const int64_t pooled = std::min<int64_t>(end, batch.cu_lengths[s] + batch.prefix);
      const double dropped =
          2 * static_cast<double>(end - pooled) * std::exp2(-static_cast<double>(batch.skip_bits));
      // Where its outputs begin.
      const int64_t first = batch.outputs.rows > 0 ? s * batch.outputs.count() : pooled;
      for (int64_t i = batch.cu_lengths[s]; i < pooled; ++i) {
        for (int64_t c = 0; c < batch.columns; ++c) {
          ASSERT_EQ(out[i * batch.columns + c], batch.x[i * batch.stride() + c])
              << what << ", prefix token " << i;
        }
      }
      const int64_t count = batch.outputs.rows > 0 ? batch.outputs.count() : end - pooled;
      for (int64_t i = 0; i < count; ++i) {
        const float* found = out.data() + (first + i) * batch.columns;
        const std::vector<Sums> row = Formula(batch, pooled, end, Centre(batch, pooled, end, i));
        for (int64_t c = 0; c < batch.columns; ++c) {
          const double error = kTolerance * row[c].size + dropped * row[c].mass;
          ASSERT_NEAR(found[c], row[c].y, error + kSmallest)
              << what << ", " << threads << " threads, sequence of " << end - pooled << ", output "
              << i << ", column " << c;
        }
      }
    }
  }

  // log2 of weights that a window of a few sigma would get wrong.
  std::vector<std::vector<float>> AdversarialWeights(int64_t tokens) {
    std::vector<std::vector<float>> all = {Random(tokens, 20), Random(tokens, 0.5f),
                                           std::vector<float>(tokens, kMinLogWeight),
                                           std::vector<float>(tokens, kMaxLogWeight)};
    // A few great weights among clamped ones, and a slope.
    std::vector<float> rare(tokens, kMinLogWeight);
    for (int64_t i = 3; i < tokens; i += 61) rare[i] = kMaxLogWeight;
    all.push_back(rare);
    for (int64_t i = 0; i < tokens; ++i) {
      rare[i] = kMinLogWeight + 120.0f * static_cast<float>(i) / static_cast<float>(tokens);
    }
    all.push_back(rare);
    return all;
  }
};

}  // namespace contextpool::kernels
