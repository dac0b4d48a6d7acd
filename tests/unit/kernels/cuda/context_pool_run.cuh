// What the tests of ContextPool on CUDA share: running a batch and comparing it with the formula.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/context_pool.h"
#include "tests/unit/kernels/context_pool_batch.h"
#include "tests/unit/kernels/cuda/half_values.h"
#include "tests/unit/kernels/cuda/test_device.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

class ContextPoolTest : public testing::TestWithParam<DType> {
 protected:
  // Beyond the last column of a row. Nobody may write it.
  static constexpr int64_t kGap = 8;
  static constexpr uint16_t kUnwritten = 0xffff;

  std::vector<float> Random(int64_t size, float scale = 1) {
    std::uniform_real_distribution<float> uniform(-scale, scale);
    std::vector<float> values(size);
    for (float& value : values) value = uniform(random_);
    return values;
  }

  // log2 of weights: any, the least, the greatest, few great ones among the least, and a slope.
  std::vector<std::vector<float>> ExtremeWeights(int32_t tokens) {
    std::vector<float> rare(tokens, kMinLogWeight), slope(tokens);
    for (int32_t i = 3; i < tokens; i += 61) rare[i] = kMaxLogWeight;
    for (int32_t i = 0; i < tokens; ++i) {
      slope[i] = kMinLogWeight + 120.0f * static_cast<float>(i) / static_cast<float>(tokens);
    }
    return {Random(tokens, 20), std::vector<float>(tokens, kMinLogWeight),
            std::vector<float>(tokens, kMaxLogWeight), rare, slope};
  }

  float Rounded(float value) const { return FromHalf(GetParam(), ToHalf(GetParam(), value)); }

  // Weights within a factor of 2^10, sizes from 0 to 8 tokens; x is rounded to the type.
  Batch Make(const std::vector<int32_t>& lengths, int64_t columns) {
    Batch batch;
    for (int32_t length : lengths) batch.cu_lengths.push_back(batch.cu_lengths.back() + length);
    batch.columns = columns;
    batch.gap = kGap;
    batch.x = Random(batch.tokens() * batch.stride());
    for (float& value : batch.x) value = Rounded(value);
    batch.log_weight = Random(batch.tokens(), 5);
    batch.support_size = Random(batch.tokens(), 8);
    for (float& size : batch.support_size) size = std::max(size, 0.0f);
    return batch;
  }

  Batch MakeGrids(const std::vector<int32_t>& rows, int32_t width, int64_t columns,
                  int32_t prefix = 0) {
    std::vector<int32_t> lengths;
    for (int32_t count : rows) lengths.push_back(prefix + count * width);
    Batch batch = Make(lengths, columns);
    batch.grid_width = width;
    batch.prefix = prefix;
    return batch;
  }

  // [tokens, columns], dense. `spare`: tokens that the launcher believes there are beyond those of
  // the batch.
  std::vector<uint16_t> Run(const Batch& batch, TestStream& stream,
                            ContextPoolTiles* tiles = nullptr, int64_t spare = 0) const {
    const int64_t out_stride = batch.columns + 2 * kGap;
    TestBuffer<uint16_t> x(ToHalf(GetParam(), batch.x));
    TestBuffer<float> log_weight(batch.log_weight), support_size(batch.support_size);
    TestBuffer<int32_t> cu_lengths(batch.cu_lengths);
    TestBuffer<uint16_t> out(batch.tokens() * out_stride);
    TestBuffer<ContextPoolTiles> counted(std::vector<ContextPoolTiles>{{}});
    const ContextPoolParams params = {.x = x.data(),
                                      .log_weight = log_weight.data(),
                                      .support_size = support_size.data(),
                                      .cu_lengths = cu_lengths.data(),
                                      .out = out.data(),
                                      .tiles = tiles == nullptr ? nullptr : counted.data(),
                                      .dtype = GetParam(),
                                      .normalization = batch.normalization,
                                      .residual = batch.residual,
                                      .gate = batch.gate,
                                      .skip_bits = batch.skip_bits,
                                      .sequences = batch.sequences(),
                                      .tokens = batch.tokens() + spare,
                                      .max_length = batch.longest() + spare,
                                      .prefix = batch.prefix,
                                      .grid_width = batch.grid_width,
                                      .columns = batch.columns,
                                      .x_stride = batch.stride(),
                                      .out_stride = out_stride};
    EXPECT_EQ(ContextPool(params, stream.handle()), Status::kOk);
    EXPECT_EQ(stream.Finish(), "");
    if (tiles != nullptr) *tiles = counted.ToHost()[0];
    return Dense(out.ToHost(), batch.columns, out_stride);
  }

  // Rounding errs in every weight, twice where the sum of the weights divides, and in the result;
  // the bit rule may drop a share of the weights in addition.
  void Compare(const Batch& batch, const std::vector<uint16_t>& out) const {
    for (int64_t s = 0; s < batch.sequences(); ++s) {
      const int64_t end = batch.cu_lengths[s + 1];
      const int64_t pooled = std::min<int64_t>(end, batch.cu_lengths[s] + batch.prefix);
      for (int64_t i = batch.cu_lengths[s]; i < pooled; ++i) {
        for (int64_t c = 0; c < batch.columns; ++c) {
          ASSERT_EQ(At(out, i * batch.columns + c), batch.x[i * batch.stride() + c])
              << "prefix token " << i;
        }
      }
      for (int64_t i = pooled; i < end; ++i) {
        CompareRow(batch, out, pooled, end, i);
        if (HasFatalFailure()) return;
      }
    }
  }

  // Token i of the sequence whose pooled tokens are [begin, end).
  void CompareRow(const Batch& batch, const std::vector<uint16_t>& out, int64_t begin, int64_t end,
                  int64_t i) const {
    const std::vector<Sums> row = Formula(batch, begin, end, i);
    for (int64_t c = 0; c < batch.columns; ++c) {
      const double error = WeightError() * row[c].size + Dropped(batch, end - begin) * row[c].mass;
      ASSERT_NEAR(At(out, i * batch.columns + c), row[c].y,
                  error + RoundingError(GetParam(), std::abs(row[c].y) + error))
          << "sequence of " << end - begin << ", token " << i - begin << ", column " << c;
    }
  }

  void RunAndCompare(const Batch& batch, std::vector<TestStream> streams,
                     const std::string& what) const {
    for (TestStream& stream : streams) {
      SCOPED_TRACE(testing::Message() << what << ", " << stream);
      Compare(batch, Run(batch, stream));
      if (HasFatalFailure()) return;
    }
  }

  float At(const std::vector<uint16_t>& values, int64_t i) const {
    return FromHalf(GetParam(), values[i]);
  }

  // The rows of sequence `s` of a dense result.
  static std::vector<uint16_t> RowsOf(const Batch& batch, const std::vector<uint16_t>& out,
                                      int64_t s) {
    return {out.begin() + batch.cu_lengths[s] * batch.columns,
            out.begin() + batch.cu_lengths[s + 1] * batch.columns};
  }

  // Of a sum that is divided by another one, both of rounded weights; kTolerance is for exponents.
  double WeightError() const {
    return 2 * (GetParam() == DType::kBF16 ? 0x1p-8 : 0x1p-11) + kTolerance;
  }
  // Of n weights' sum: below 2^-39 of the largest weight there is nothing in float16.
  double Dropped(const Batch& batch, int64_t n) const {
    return 2 * static_cast<double>(n) *
           (std::exp2(-static_cast<double>(batch.skip_bits)) + 0x1p-39);
  }

  std::mt19937 random_{17};

 private:
  static std::vector<uint16_t> Dense(const std::vector<uint16_t>& out, int64_t columns,
                                     int64_t stride) {
    std::vector<uint16_t> dense;
    for (size_t i = 0; i < out.size(); ++i) {
      if (static_cast<int64_t>(i) % stride < columns) {
        dense.push_back(out[i]);
      } else {
        EXPECT_EQ(out[i], kUnwritten) << i;
      }
    }
    return dense;
  }
};

}  // namespace contextpool::kernels::SIMT_BACKEND
