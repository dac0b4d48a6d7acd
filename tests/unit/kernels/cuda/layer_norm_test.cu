// LayerNorm against its formula in double precision.

#include <gtest/gtest.h>

#include <algorithm>
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
                        {2, 2048, true, true},
                        {150, 8, true, true}}) {
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

// Without the addresses.
LayerNormParams ParamsOf(DType dtype, int64_t rows, int64_t columns, int64_t x_stride,
                         int64_t residual_stride, int64_t out_stride) {
  return {.dtype = dtype,
          .rows = rows,
          .columns = columns,
          .x_stride = x_stride,
          .residual_stride = residual_stride,
          .out_stride = out_stride,
          .eps = kEps};
}

TEST_P(LayerNormTest, RowsMayLieApartAndWhatIsBetweenThemStays) {
  constexpr int64_t kRows = 5, kColumns = 264, kX = 272, kResidual = 280, kOut = 288;
  std::vector<uint16_t> x = Random(kRows * kX), residual = Random(kRows * kResidual);
  const std::vector<uint16_t> gamma = Random(kColumns), beta = Random(kColumns);
  // Between the rows there is NaN.
  for (int64_t row = 0; row < kRows; ++row) {
    std::fill_n(x.begin() + row * kX + kColumns, kX - kColumns, Half(kNan));
    std::fill_n(residual.begin() + row * kResidual + kColumns, kResidual - kColumns, Half(kNan));
  }
  TestBuffer<uint16_t> device_x(x), device_residual(residual), device_gamma(gamma),
      device_beta(beta);
  for (TestStream& stream : EveryTestStream()) {
    SCOPED_TRACE(testing::Message() << stream);
    TestBuffer<uint16_t> out(kRows * kOut);
    LayerNormParams params = ParamsOf(GetParam(), kRows, kColumns, kX, kResidual, kOut);
    params.x = device_x.data();
    params.residual = device_residual.data();
    params.gamma = device_gamma.data();
    params.beta = device_beta.data();
    params.out = out.data();
    ASSERT_EQ(LayerNorm(params, stream.handle()), Status::kOk) << stream.Finish();
    ASSERT_EQ(stream.Finish(), "");
    const std::vector<uint16_t> found = out.ToHost();
    for (int64_t row = 0; row < kRows; ++row) {
      std::vector<double> v(kColumns);
      for (int64_t i = 0; i < kColumns; ++i) {
        v[i] = At(x, row * kX + i) + At(residual, row * kResidual + i);
      }
      v = Normalized(v, gamma, beta, kEps);
      for (int64_t i = 0; i < kColumns; ++i) {
        ASSERT_NEAR(At(found, row * kOut + i), v[i], RoundingError(GetParam(), v[i]) + 1e-5)
            << "row " << row << " column " << i;
      }
      EXPECT_EQ(Part(found, row * kOut + kColumns, kOut - kColumns),
                std::vector<uint16_t>(kOut - kColumns, 0xffff));
    }
  }
}

TEST_P(LayerNormTest, WritesOverItsInputOrItsResidualToo) {
  constexpr int64_t kRows = 6, kColumns = 384;
  const std::vector<uint16_t> x = Random(kRows * kColumns), residual = Random(kRows * kColumns);
  TestBuffer<uint16_t> gamma(Random(kColumns)), beta(Random(kColumns));
  LayerNormParams params = ParamsOf(GetParam(), kRows, kColumns, kColumns, kColumns, kColumns);
  params.gamma = gamma.data();
  params.beta = beta.data();
  for (TestStream& stream : EveryTestStream()) {
    std::vector<std::vector<uint16_t>> found;
    for (int place = 0; place < 3; ++place) {
      TestBuffer<uint16_t> device_x(x), device_residual(residual), apart(kRows * kColumns);
      TestBuffer<uint16_t>* const out[] = {&apart, &device_x, &device_residual};
      params.x = device_x.data();
      params.residual = device_residual.data();
      params.out = out[place]->data();
      ASSERT_EQ(LayerNorm(params, stream.handle()), Status::kOk) << stream.Finish();
      ASSERT_EQ(stream.Finish(), "");
      found.push_back(out[place]->ToHost());
    }
    EXPECT_EQ(found[1], found[0]) << stream;
    EXPECT_EQ(found[2], found[0]) << stream;
  }
}

TEST_P(LayerNormTest, ARowDoesNotDependOnItsNeighboursBitForBit) {
  constexpr int64_t kColumns = 264;
  const std::vector<uint16_t> own = Random(kColumns);
  TestBuffer<uint16_t> gamma(Random(kColumns)), beta(Random(kColumns));
  LayerNormParams params = ParamsOf(GetParam(), 1, kColumns, kColumns, kColumns, kColumns);
  params.gamma = gamma.data();
  params.beta = beta.data();
  const auto run = [&](const std::vector<uint16_t>& x, TestStream& stream) {
    TestBuffer<uint16_t> device_x(x), out(x.size());
    params.rows = static_cast<int64_t>(x.size()) / kColumns;
    params.x = device_x.data();
    params.out = out.data();
    EXPECT_EQ(LayerNorm(params, stream.handle()), Status::kOk) << stream.Finish();
    EXPECT_EQ(stream.Finish(), "");
    return out.ToHost();
  };
  std::vector<uint16_t> all(7 * kColumns, Half(kNan));
  std::ranges::copy(own, all.begin() + 3 * kColumns);
  for (TestStream& stream : EveryTestStream()) {
    EXPECT_EQ(Part(run(all, stream), 3 * kColumns, kColumns), run(own, stream)) << stream;
  }
}

TEST_P(LayerNormTest, MatchesItsFormulaForExtremeRows) {
  for (const int64_t columns : {8, 264}) {
    const auto x = ExtremeRows(columns), gamma = Random(columns), beta = Random(columns);
    TestBuffer<uint16_t> device_x(x), device_gamma(gamma), device_beta(beta);
    LayerNormParams params = ParamsOf(GetParam(), kExtremeRows, columns, columns, columns, columns);
    params.x = device_x.data();
    params.gamma = device_gamma.data();
    params.beta = device_beta.data();
    for (TestStream& stream : EveryTestStream()) {
      TestBuffer<uint16_t> out(x.size());
      params.out = out.data();
      ASSERT_EQ(LayerNorm(params, stream.handle()), Status::kOk) << stream.Finish();
      ASSERT_EQ(stream.Finish(), "");
      const std::vector<uint16_t> found = out.ToHost();
      for (int64_t row = 0; row < kExtremeRows; ++row) {
        std::vector<double> v(columns);
        for (int64_t i = 0; i < columns; ++i) v[i] = At(x, row * columns + i);
        v = Normalized(v, gamma, beta, kEps);
        for (int64_t i = 0; i < columns; ++i) {
          ASSERT_NEAR(At(found, row * columns + i), v[i], RoundingError(GetParam(), v[i]) + 1e-5)
              << stream << ", row " << row << " column " << i;
        }
      }
    }
  }
}

TEST_P(LayerNormTest, LoadsAndStoresWholeSectors) {
  for (const int64_t columns : {16, 384, 768}) {
    TestBuffer<uint16_t> x(Random(5 * columns)), residual(Random(5 * columns)),
        bias(Random(columns)), gamma(Random(columns)), beta(Random(columns)), out(5 * columns);
    LayerNormParams params = ParamsOf(GetParam(), 5, columns, columns, columns, columns);
    params.x = x.data();
    params.bias = bias.data();
    params.residual = residual.data();
    params.gamma = gamma.data();
    params.beta = beta.data();
    params.out = out.data();
    TestStream stream = EveryTestStream().front();
    ASSERT_EQ(LayerNorm(params, stream.handle()), Status::kOk) << stream.Finish();
    ExpectNoExcess(stream);
  }
}

TEST(LayerNormLimitsTest, RefusesWhatItCannotTake) {
  const auto status = [](auto change) {
    LayerNormParams params = ParamsOf(DType::kBF16, 0, 384, 384, 384, 384);
    change(params);
    return LayerNorm(params, EveryTestStream().front().handle());
  };
  EXPECT_EQ(status([](LayerNormParams&) {}), Status::kOk);
  EXPECT_EQ(status([](LayerNormParams& p) { p.rows = -1; }), Status::kBadShape);
  for (const int64_t columns : {0, 12, 2056}) {
    EXPECT_EQ(status([&](LayerNormParams& p) { p.columns = columns; }), Status::kBadShape);
  }
  EXPECT_EQ(status([](LayerNormParams& p) { p.x_stride = 388; }), Status::kBadShape);
  EXPECT_EQ(status([](LayerNormParams& p) { p.out_stride = 388; }), Status::kBadShape);
  EXPECT_EQ(status([](LayerNormParams& p) { p.residual_stride = 388; }), Status::kOk) << "unused";
  alignas(16) static uint16_t place[16];
  EXPECT_EQ(status([](LayerNormParams& p) {
              p.residual = place;
              p.residual_stride = 388;
            }),
            Status::kBadShape);
  EXPECT_EQ(status([](LayerNormParams& p) { p.gamma = place + 4; }), Status::kBadShape);
  EXPECT_EQ(status([](LayerNormParams& p) {
              p.dtype = DType::kF32;
              p.rows = 1;
            }),
            Status::kBadDType);
}

CONTEXTPOOL_TEST_EVERY_HALF(LayerNormTest);

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
