#include "kernels/linear.h"

#include <algorithm>

#include "tests/unit/kernels/kernel_test.h"

namespace contextpool::kernels {
namespace {

constexpr double kTolerance = 2e-5;
constexpr float kSentinel = 77.0f;

struct Shape {
  int64_t rows, in, out;
};
// Around the tile (6 x 16), the depth block (384) and the number of threads.
constexpr Shape kShapes[] = {{1, 1, 1},     {1, 8, 3},     {5, 17, 15},   {6, 16, 16},
                             {7, 33, 17},   {13, 384, 48}, {12, 385, 31}, {31, 100, 50},
                             {200, 40, 37}, {433, 20, 33}, {3, 1000, 7}};

class LinearTest : public KernelTest {
 protected:
  // A layer of one shape with everything that can be fused. Rows of x, residual and out may be
  // further apart than they are long: `gap` floats more, twice and thrice that for the latter two.
  struct Layer {
    LinearParams params;
    std::vector<float> x, weight, packed, bias, residual, gamma, beta, out;
  };

  void Make(const Shape& shape, Layer& layer, int64_t gap = 0) {
    const int64_t x_stride = shape.in + gap;
    const int64_t residual_stride = shape.out + 2 * gap;
    const int64_t out_stride = shape.out + 3 * gap;
    layer.x = Random(shape.rows * x_stride);
    layer.weight = Random(shape.out * shape.in, 1.0f / std::sqrt(static_cast<float>(shape.in)));
    layer.bias = Random(shape.out);
    layer.residual = Random(shape.rows * residual_stride);
    layer.gamma = Random(shape.out);
    layer.beta = Random(shape.out);
    // One beyond the end.
    layer.out.assign(shape.rows * out_stride + 1, kSentinel);
    layer.packed.resize(cpu::PackedLinearElements(shape.out, shape.in));
    cpu::PackLinear(layer.weight.data(), shape.out, shape.in, layer.packed.data());
    layer.params = {.x = layer.x.data(),
                    .packed_weight = layer.packed.data(),
                    .bias = layer.bias.data(),
                    .out = layer.out.data(),
                    .rows = shape.rows,
                    .in_columns = shape.in,
                    .out_columns = shape.out,
                    .x_stride = x_stride,
                    .residual_stride = residual_stride,
                    .out_stride = out_stride};
  }

  void AddResidualNorm(Layer& layer) {
    layer.params.residual = layer.residual.data();
    layer.params.gamma = layer.gamma.data();
    layer.params.beta = layer.beta.data();
    layer.params.eps = 1e-3f;
  }

  static double GeluTanh(double x) {
    return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
  }

  static std::vector<double> Expected(const Layer& layer) {
    const LinearParams& p = layer.params;
    std::vector<double> expected;
    for (int64_t i = 0; i < p.rows; ++i) {
      std::vector<double> row(p.out_columns);
      for (int64_t c = 0; c < p.out_columns; ++c) {
        row[c] = p.bias != nullptr ? layer.bias[c] : 0.0;
        for (int64_t k = 0; k < p.in_columns; ++k) {
          row[c] +=
              static_cast<double>(layer.x[i * p.x_stride + k]) * layer.weight[c * p.in_columns + k];
        }
        const double residual =
            p.residual != nullptr ? layer.residual[i * p.residual_stride + c] : 0;
        if (p.activates_sum) row[c] += residual;
        if (p.activation == Activation::kGelu) row[c] *= 0.5 * std::erfc(-row[c] / std::sqrt(2.0));
        if (p.activation == Activation::kGeluTanh) row[c] = GeluTanh(row[c]);
        if (p.activation == Activation::kTanh) row[c] = std::tanh(row[c]);
        if (p.activation == Activation::kRelu) row[c] = std::max(row[c], 0.0);
        if (p.activation == Activation::kLeakyRelu) row[c] = std::max(row[c], 0.01 * row[c]);
        if (!p.activates_sum) row[c] += residual;
      }
      if (p.gamma != nullptr) {
        NormalizeInDouble(row, layer.gamma.data(), layer.beta.data(), p.eps);
      }
      expected.insert(expected.end(), row.begin(), row.end());
    }
    return expected;
  }

  // Runs with `threads` and compares; nothing between out's rows or beyond its end may be written.
  void RunAndCompare(Layer& layer, int threads) {
    const LinearParams& p = layer.params;
    // No earlier run's answer may pass for this one's.
    for (int64_t i = 0; i < p.rows; ++i) {
      std::fill_n(layer.out.begin() + i * p.out_stride, p.out_columns, std::nanf(""));
    }
    ShuffledStream stream(GetParam(), threads);
    ASSERT_EQ(cpu::Linear(p, &stream), Status::kOk);
    std::vector<float> found;
    for (size_t i = 0; i < layer.out.size(); ++i) {
      const int64_t column = static_cast<int64_t>(i) % p.out_stride;
      if (i + 1 < layer.out.size() && column < p.out_columns) {
        found.push_back(layer.out[i]);
      } else {
        EXPECT_EQ(layer.out[i], kSentinel) << i;
      }
    }
    EXPECT_LE(WorstError(found, Expected(layer)), kTolerance)
        << layer.params.rows << " x " << layer.params.in_columns << " -> "
        << layer.params.out_columns << ", " << threads << " threads";
  }
};

CONTEXTPOOL_TEST_EVERY_ISA(LinearTest);

TEST_P(LinearTest, MultipliesAddsBiasAndActivates) {
  for (const Shape& shape : kShapes) {
    for (Activation activation : {Activation::kNone, Activation::kGelu, Activation::kGeluTanh,
                                  Activation::kTanh, Activation::kRelu, Activation::kLeakyRelu}) {
      Layer layer;
      Make(shape, layer);
      layer.params.activation = activation;
      for (int threads : {1, 3}) RunAndCompare(layer, threads);
    }
  }
}

TEST_P(LinearTest, ActivatesBeforeOrAfterItAddsTheResidual) {
  for (const Shape& shape : kShapes) {
    for (bool activates_sum : {false, true}) {
      Layer layer;
      Make(shape, layer, 2);
      layer.params.residual = layer.residual.data();
      layer.params.activation = Activation::kRelu;
      layer.params.activates_sum = activates_sum;
      for (int threads : {1, 3}) RunAndCompare(layer, threads);
    }
  }
}

TEST_P(LinearTest, AddsTheResidualAndNormalizes) {
  for (const Shape& shape : kShapes) {
    // One column always normalises to beta, whatever rounding left.
    if (shape.out == 1) continue;
    Layer layer;
    Make(shape, layer);
    AddResidualNorm(layer);
    for (int threads : {1, 3}) RunAndCompare(layer, threads);
  }
}

TEST_P(LinearTest, RowsMayBeFurtherApartThanTheyAreLong) {
  for (const Shape& shape : kShapes) {
    for (bool fused : {false, true}) {
      if (fused && shape.out == 1) continue;
      Layer layer;
      Make(shape, layer, 5);
      if (fused) AddResidualNorm(layer);
      for (int threads : {1, 3}) RunAndCompare(layer, threads);
    }
  }
}

TEST_P(LinearTest, WorksWithoutBias) {
  Layer layer;
  Make({9, 21, 19}, layer);
  layer.params.bias = nullptr;
  RunAndCompare(layer, 1);
}

TEST_P(LinearTest, ARowDoesNotDependOnTheOthers) {
  Layer layer;
  Make({400, 390, 40}, layer);
  AddResidualNorm(layer);
  ShuffledStream stream(GetParam(), 2);
  ASSERT_EQ(cpu::Linear(layer.params, &stream), Status::kOk);
  for (int64_t row : {0, 5, 6, 143, 398, 399}) {
    std::vector<float> alone(40);
    LinearParams one = layer.params;
    one.rows = 1;
    one.x = layer.x.data() + row * 390;
    one.residual = layer.residual.data() + row * 40;
    one.out = alone.data();
    ASSERT_EQ(cpu::Linear(one, &stream), Status::kOk);
    EXPECT_EQ(alone,
              std::vector<float>(layer.out.begin() + row * 40, layer.out.begin() + (row + 1) * 40))
        << "row " << row;
  }
}

TEST_P(LinearTest, ANanStaysInItsRow) {
  Layer layer;
  Make({13, 20, 18}, layer);
  AddResidualNorm(layer);
  layer.x[4 * 20 + 3] = std::nanf("");
  ShuffledStream stream(GetParam(), 2);
  ASSERT_EQ(cpu::Linear(layer.params, &stream), Status::kOk);
  for (int64_t i = 0; i < 13 * 18; ++i) EXPECT_EQ(std::isnan(layer.out[i]), i / 18 == 4) << i;
}

TEST_P(LinearTest, RefusesWhatItCannotCompute) {
  Layer layer;
  Make({2, 3, 4}, layer);
  CpuStream stream(GetParam());
  LinearParams p = layer.params;
  p.dtype = DType::kF16;
  EXPECT_EQ(cpu::Linear(p, &stream), Status::kBadDType);
  p = layer.params;
  p.x_stride = 2;
  EXPECT_EQ(cpu::Linear(p, &stream), Status::kBadShape);
  p = layer.params;
  p.gamma = layer.gamma.data();
  EXPECT_EQ(cpu::Linear(p, &stream), Status::kBadShape);
}

}  // namespace
}  // namespace contextpool::kernels
