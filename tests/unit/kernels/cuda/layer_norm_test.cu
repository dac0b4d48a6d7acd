// LayerNorm against its formula in double precision.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/layer_norm.h"
#include "tests/unit/kernels/cuda/half_values.h"
#include "tests/unit/kernels/cuda/test_device.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

constexpr float kEps = 1e-5f;

// Inputs as the kernel sees them: rounded to its type.
class LayerNormTest : public testing::TestWithParam<DType> {
 protected:
  std::vector<uint16_t> Random(int64_t size, float scale = 1) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(size);
    for (float& value : values) value = normal(random_);
    return ToHalf(GetParam(), values);
  }

  double At(const std::vector<uint16_t>& values, int64_t i) const {
    return values.empty() ? 0 : FromHalf(GetParam(), values[i]);
  }

  std::mt19937 random_{17};
};

struct Case {
  int64_t rows;
  int64_t columns;
  bool has_bias;
  bool has_residual;
};

struct Inputs {
  std::vector<uint16_t> x;
  std::vector<uint16_t> bias;
  std::vector<uint16_t> residual;
  std::vector<uint16_t> gamma;
  std::vector<uint16_t> beta;
};

TEST_P(LayerNormTest, MatchesItsFormulaOnEveryScheduleWithAnyColumns) {
  for (const Case& c : {Case{9, 8, true, true},
                        {5, 264, true, false},
                        {5, 384, true, true},
                        {4, 768, false, true},
                        {3, 1024, false, false},
                        {2, 2048, true, true}}) {
    const Inputs in = {
        .x = Random(c.rows * c.columns, 3),
        .bias = c.has_bias ? Random(c.columns) : std::vector<uint16_t>(),
        .residual = c.has_residual ? Random(c.rows * c.columns) : std::vector<uint16_t>(),
        .gamma = Random(c.columns),
        .beta = Random(c.columns)};
    TestBuffer<uint16_t> x(in.x), bias(in.bias), residual(in.residual), gamma(in.gamma),
        beta(in.beta);
    for (TestStream& stream : EveryTestStream()) {
      SCOPED_TRACE(testing::Message() << c.rows << " x " << c.columns << ", " << stream);
      TestBuffer<uint16_t> out(c.rows * c.columns);
      const LayerNormParams params = {.x = x.data(),
                                      .bias = c.has_bias ? bias.data() : nullptr,
                                      .residual = c.has_residual ? residual.data() : nullptr,
                                      .gamma = gamma.data(),
                                      .beta = beta.data(),
                                      .out = out.data(),
                                      .dtype = GetParam(),
                                      .rows = c.rows,
                                      .columns = c.columns,
                                      .x_stride = c.columns,
                                      .residual_stride = c.columns,
                                      .out_stride = c.columns,
                                      .eps = kEps};
      ASSERT_EQ(LayerNorm(params, stream.handle()), Status::kOk) << stream.Finish();
      ASSERT_EQ(stream.Finish(), "");
      const std::vector<uint16_t> found = out.ToHost();
      for (int64_t row = 0; row < c.rows; ++row) {
        std::vector<double> v(c.columns);
        double mean = 0;
        for (int64_t i = 0; i < c.columns; ++i) {
          v[i] =
              At(in.x, row * c.columns + i) + At(in.bias, i) + At(in.residual, row * c.columns + i);
          mean += v[i] / c.columns;
        }
        double variance = 0;
        for (const double value : v) variance += (value - mean) * (value - mean) / c.columns;
        for (int64_t i = 0; i < c.columns; ++i) {
          const double expected =
              (v[i] - mean) / std::sqrt(variance + kEps) * At(in.gamma, i) + At(in.beta, i);
          // Rounded once, after a computation in float.
          ASSERT_NEAR(At(found, row * c.columns + i), expected,
                      RoundingError(GetParam(), expected) + 1e-5)
              << "row " << row << " column " << i;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Half, LayerNormTest, testing::Values(DType::kBF16, DType::kF16),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
