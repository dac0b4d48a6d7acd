#include "kernels/linear.h"

#include "tests/unit/kernels/kernel_test.h"

namespace contextpool::kernels {
namespace {

constexpr double kTolerance = 2e-5;

struct Shape {
  int64_t rows, in, out;
};
// Around the tile (6 x 16), the depth block (384) and the number of threads.
constexpr Shape kShapes[] = {{1, 1, 1},     {1, 8, 3},     {5, 17, 15},   {6, 16, 16},
                             {7, 33, 17},   {13, 384, 48}, {12, 385, 31}, {31, 100, 50},
                             {200, 40, 37}, {433, 20, 33}, {3, 1000, 7}};

class LinearTest : public KernelTest {
 protected:
  // A layer of one shape with everything that can be fused.
  struct Layer {
    LinearParams params;
    std::vector<float> x, weight, packed, bias, residual, gamma, beta, out;
  };

  void Make(const Shape& shape, Layer& layer) {
    layer.x = Random(shape.rows * shape.in);
    layer.weight = Random(shape.out * shape.in, 1.0f / std::sqrt(static_cast<float>(shape.in)));
    layer.bias = Random(shape.out);
    layer.residual = Random(shape.rows * shape.out);
    layer.gamma = Random(shape.out);
    layer.beta = Random(shape.out);
    layer.out.assign(shape.rows * shape.out + 1, 77.0f);
    layer.packed.resize(cpu::PackedLinearElements(shape.out, shape.in));
    cpu::PackLinear(layer.weight.data(), shape.out, shape.in, layer.packed.data());
    layer.params = {.x = layer.x.data(),
                    .packed_weight = layer.packed.data(),
                    .bias = layer.bias.data(),
                    .out = layer.out.data(),
                    .rows = shape.rows,
                    .in_columns = shape.in,
                    .out_columns = shape.out,
                    .x_stride = shape.in,
                    .out_stride = shape.out};
  }

  void AddResidualNorm(Layer& layer) {
    layer.params.residual = layer.residual.data();
    layer.params.residual_stride = layer.params.out_columns;
    layer.params.gamma = layer.gamma.data();
    layer.params.beta = layer.beta.data();
    layer.params.eps = 1e-3f;
  }

  static std::vector<double> Expected(const Layer& layer) {
    const LinearParams& p = layer.params;
    std::vector<double> expected;
    for (int64_t i = 0; i < p.rows; ++i) {
      std::vector<double> row(p.out_columns);
      for (int64_t c = 0; c < p.out_columns; ++c) {
        row[c] = p.bias != nullptr ? layer.bias[c] : 0.0;
        for (int64_t k = 0; k < p.in_columns; ++k) {
          row[c] += static_cast<double>(layer.x[i * p.in_columns + k]) *
                    layer.weight[c * p.in_columns + k];
        }
        if (p.activation == Activation::kGelu) row[c] *= 0.5 * std::erfc(-row[c] / std::sqrt(2.0));
        if (p.activation == Activation::kTanh) row[c] = std::tanh(row[c]);
        if (p.residual != nullptr) row[c] += layer.residual[i * p.out_columns + c];
      }
      if (p.gamma != nullptr) {
        NormalizeInDouble(row, layer.gamma.data(), layer.beta.data(), p.eps);
      }
      expected.insert(expected.end(), row.begin(), row.end());
    }
    return expected;
  }

  // Runs with `threads` and compares; nothing beyond out's end may be written.
  void RunAndCompare(Layer& layer, int threads) {
    ShuffledStream stream(GetParam(), threads);
    ASSERT_EQ(cpu::Linear(layer.params, &stream), Status::kOk);
    EXPECT_EQ(layer.out.back(), 77.0f);
    std::vector<float> found(layer.out.begin(), layer.out.end() - 1);
    EXPECT_LE(WorstError(found, Expected(layer)), kTolerance)
        << layer.params.rows << " x " << layer.params.in_columns << " -> "
        << layer.params.out_columns << ", " << threads << " threads";
  }
};

CONTEXTPOOL_TEST_EVERY_ISA(LinearTest);

TEST_P(LinearTest, MultipliesAddsBiasAndActivates) {
  for (const Shape& shape : kShapes) {
    for (Activation activation : {Activation::kNone, Activation::kGelu, Activation::kTanh}) {
      Layer layer;
      Make(shape, layer);
      layer.params.activation = activation;
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
