// Bias, residual and activation against their formulas in double precision.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/activation.h"
#include "tests/unit/kernels/cuda/half_test.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

constexpr Activation kActivations[] = {Activation::kNone,     Activation::kGelu,
                                       Activation::kGeluTanh, Activation::kRelu,
                                       Activation::kTanh,     Activation::kLeakyRelu};

double InDouble(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return x < 0 ? 0.0 : x;
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kLeakyRelu:
      return x < 0 ? 0.01 * x : x;
  }
  return x;
}

class BiasActivationTest : public HalfTest {};

TEST_P(BiasActivationTest, EveryValueOfTheTypeMatchesTheFormula) {
  std::vector<uint16_t> every(0x10000);
  std::iota(every.begin(), every.end(), uint16_t{0});
  for (const Activation activation : kActivations) {
    std::vector<uint16_t> found;
    for (TestStream& stream : EveryTestStream()) {
      TestBuffer<uint16_t> x(every);
      const BiasActivationParams params = {.x = x.data(),
                                           .dtype = GetParam(),
                                           .activation = activation,
                                           .rows = 64,
                                           .columns = 1024,
                                           .stride = 1024};
      ASSERT_EQ(BiasActivation(params, stream.handle()), Status::kOk) << stream.Finish();
      ASSERT_EQ(stream.Finish(), "");
      if (found.empty()) found = x.ToHost();
      ASSERT_EQ(x.ToHost(), found) << stream;
    }
    for (size_t i = 0; i < every.size(); ++i) {
      const double expected = InDouble(activation, At(every, i));
      if (std::isfinite(expected)) {
        // Rounded once; 1 + erf and 1 + tanh lose digits where they are close to 0.
        ASSERT_NEAR(At(found, i), expected, RoundingError(GetParam(), expected) * 1.0001 + 1e-6)
            << "activation " << static_cast<int>(activation) << " of " << At(every, i);
      } else {
        ASSERT_EQ(std::isnan(At(found, i)), std::isnan(expected)) << At(every, i);
        ASSERT_TRUE(std::isnan(expected) || At(found, i) == expected) << At(every, i);
      }
    }
  }
}

TEST_P(BiasActivationTest, ActivatesTheSumAndLeavesWhatLiesBetweenRows) {
  struct Case {
    int64_t rows;
    int64_t columns;
    int64_t stride;
    int64_t residual_stride;
    bool has_bias;
    bool has_residual;
    Activation activation = Activation::kGelu;
  };
  std::vector<Case> cases = {{9, 520, 528, 536, true, true},
                             {5, 1032, 1032, 0, true, false},
                             {2, 24, 24, 24, false, true},
                             // Not of whole vectors: columns, a stride.
                             {5, 3, 3, 3, true, true},
                             {6, 70, 75, 71, true, true},
                             {3, 16, 17, 16, true, true}};
  for (const Activation activation : kActivations) {
    cases.push_back({9, 40, 48, 40, true, true, activation});
    cases.push_back({3, 7, 9, 8, true, true, activation});
  }
  for (const Case& c : cases) {
    const auto x = Random(c.rows * c.stride), bias = Random(c.columns),
               residual = Random(c.rows * c.residual_stride);
    TestBuffer<uint16_t> device_bias(bias), device_residual(residual);
    for (TestStream& stream : EveryTestStream()) {
      SCOPED_TRACE(testing::Message() << c.rows << " x " << c.columns << ", " << stream);
      TestBuffer<uint16_t> device_x(x);
      const BiasActivationParams params = {
          .x = device_x.data(),
          .bias = c.has_bias ? device_bias.data() : nullptr,
          .residual = c.has_residual ? device_residual.data() : nullptr,
          .dtype = GetParam(),
          .activation = c.activation,
          .rows = c.rows,
          .columns = c.columns,
          .stride = c.stride,
          .residual_stride = c.residual_stride};
      ASSERT_EQ(BiasActivation(params, stream.handle()), Status::kOk) << stream.Finish();
      ASSERT_EQ(stream.Finish(), "");
      const std::vector<uint16_t> found = device_x.ToHost();
      for (int64_t i = 0; i < c.rows * c.stride; ++i) {
        const int64_t row = i / c.stride, column = i % c.stride;
        if (column >= c.columns) {
          ASSERT_EQ(found[i], x[i]) << "between rows";
          continue;
        }
        const double sum = At(x, i) + (c.has_bias ? At(bias, column) : 0) +
                           (c.has_residual ? At(residual, row * c.residual_stride + column) : 0);
        const double expected = InDouble(c.activation, sum);
        ASSERT_NEAR(At(found, i), expected, RoundingError(GetParam(), expected) + 1e-6)
            << "row " << row << " column " << column;
      }
    }
  }
}

TEST_P(BiasActivationTest, ARowDoesNotDependOnItsNeighboursBitForBit) {
  // Of whole vectors and not.
  for (const int64_t columns : {264, 33}) {
    const auto own = Random(columns), own_residual = Random(columns);
    TestBuffer<uint16_t> bias(Random(columns));
    const auto run = [&](const std::vector<uint16_t>& x, const std::vector<uint16_t>& residual,
                         TestStream& stream) {
      TestBuffer<uint16_t> device_x(x), device_residual(residual);
      const BiasActivationParams params = {.x = device_x.data(),
                                           .bias = bias.data(),
                                           .residual = device_residual.data(),
                                           .dtype = GetParam(),
                                           .activation = Activation::kGelu,
                                           .rows = static_cast<int64_t>(x.size()) / columns,
                                           .columns = columns,
                                           .stride = columns,
                                           .residual_stride = columns};
      EXPECT_EQ(BiasActivation(params, stream.handle()), Status::kOk) << stream.Finish();
      EXPECT_EQ(stream.Finish(), "");
      return device_x.ToHost();
    };
    std::vector<uint16_t> all(11 * columns, Half(kNan)), all_residual = all;
    std::ranges::copy(own, all.begin() + 3 * columns);
    std::ranges::copy(own_residual, all_residual.begin() + 3 * columns);
    for (TestStream& stream : EveryTestStream()) {
      EXPECT_EQ(Part(run(all, all_residual, stream), 3 * columns, columns),
                run(own, own_residual, stream))
          << stream;
    }
  }
}

TEST_P(BiasActivationTest, LoadsAndStoresWholeSectors) {
  for (const int64_t columns : {16, 384, 3072}) {
    TestStream stream = EveryTestStream().front();
    TestBuffer<uint16_t> x(Random(5 * columns)), bias(Random(columns)),
        residual(Random(5 * columns));
    const BiasActivationParams params = {.x = x.data(),
                                         .bias = bias.data(),
                                         .residual = residual.data(),
                                         .dtype = GetParam(),
                                         .rows = 5,
                                         .columns = columns,
                                         .stride = columns,
                                         .residual_stride = columns};
    ASSERT_EQ(BiasActivation(params, stream.handle()), Status::kOk) << stream.Finish();
    ExpectNoExcess(stream);
  }
}

// As a head leaves its logits, of few columns.
TEST(Float32BiasActivationTest, MatchesItsFormulaWithAndWithoutWholeVectors) {
  for (const int64_t columns : {1, 3, 4, 300}) {
    const int64_t rows = 7;
    std::vector<float> x(rows * columns), bias(columns);
    for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.7f * static_cast<float>(i));
    for (size_t i = 0; i < bias.size(); ++i) bias[i] = std::cos(static_cast<float>(i));
    TestBuffer<float> device_bias(bias);
    for (TestStream& stream : EveryTestStream()) {
      TestBuffer<float> device_x(x);
      const BiasActivationParams params = {.x = device_x.data(),
                                           .bias = device_bias.data(),
                                           .dtype = DType::kF32,
                                           .activation = Activation::kTanh,
                                           .rows = rows,
                                           .columns = columns,
                                           .stride = columns};
      ASSERT_EQ(BiasActivation(params, stream.handle()), Status::kOk) << stream.Finish();
      ASSERT_EQ(stream.Finish(), "");
      const std::vector<float> found = device_x.ToHost();
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_NEAR(found[i], std::tanh(double{x[i]} + bias[i % columns]), 1e-6) << stream;
      }
    }
  }
}

TEST(BiasActivationLimitsTest, RefusesWhatItCannotTake) {
  const auto status = [](auto change) {
    BiasActivationParams params = {.dtype = DType::kBF16, .rows = 0, .columns = 8, .stride = 8};
    change(params);
    return BiasActivation(params, EveryTestStream().front().handle());
  };
  EXPECT_EQ(status([](BiasActivationParams&) {}), Status::kOk);
  EXPECT_EQ(status([](BiasActivationParams& p) { p.stride = 7; }), Status::kBadShape);
  EXPECT_EQ(status([](BiasActivationParams& p) { p.columns = 0; }), Status::kBadShape);
  EXPECT_EQ(status([](BiasActivationParams& p) { p.rows = -1; }), Status::kBadShape);
  EXPECT_EQ(status([](BiasActivationParams& p) { p.columns = p.stride = (1 << 21) + 8; }),
            Status::kBadShape);
  EXPECT_EQ(status([](BiasActivationParams& p) {
              p.residual = &p;
              p.residual_stride = 7;
            }),
            Status::kBadShape);
  EXPECT_EQ(status([](BiasActivationParams& p) {
              p.dtype = DType::kI8;
              p.rows = 1;
            }),
            Status::kBadDType);
}

CONTEXTPOOL_TEST_EVERY_HALF(BiasActivationTest);

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
