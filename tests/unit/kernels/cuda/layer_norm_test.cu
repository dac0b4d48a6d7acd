// LayerNorm against its formula in double precision.

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/layer_norm.h"
#include "tests/unit/kernels/cuda/half_test.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

constexpr float kEps = 1e-5f;

class LayerNormTest : public HalfTest {};

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
        for (int64_t i = 0; i < c.columns; ++i) {
          v[i] =
              At(in.x, row * c.columns + i) + At(in.bias, i) + At(in.residual, row * c.columns + i);
        }
        v = Normalized(v, in.gamma, in.beta, kEps);
        for (int64_t i = 0; i < c.columns; ++i) {
          // Rounded once, after a computation in float.
          ASSERT_NEAR(At(found, row * c.columns + i), v[i], RoundingError(GetParam(), v[i]) + 1e-5)
              << "row " << row << " column " << i;
        }
      }
    }
  }
}

CONTEXTPOOL_TEST_EVERY_HALF(LayerNormTest);

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
