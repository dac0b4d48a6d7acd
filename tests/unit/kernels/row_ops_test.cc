// Activation, normalisation, embedding and pooling.

#include <algorithm>
#include <limits>

#include "kernels/activation.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"
#include "kernels/patch_tokens.h"
#include "kernels/pool.h"
#include "tests/unit/kernels/kernel_test.h"

namespace contextpool::kernels {
namespace {

constexpr int64_t kWidths[] = {1, 5, 7, 8, 9, 16, 31, 40, 100};

class RowOpsTest : public KernelTest {};
CONTEXTPOOL_TEST_EVERY_ISA(RowOpsTest);

double Activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kLeakyRelu:
      return x < 0 ? 0.01 * x : x;
  }
  return x;
}

TEST_P(RowOpsTest, ActivationsMatchTheirFormulas) {
  // Relative for large results, absolute for small ones.
  constexpr double kTolerance = 1e-6;
  CpuStream stream(GetParam());
  for (Activation activation : {Activation::kNone, Activation::kGelu, Activation::kGeluTanh,
                                Activation::kRelu, Activation::kTanh, Activation::kLeakyRelu}) {
    std::vector<float> x;
    for (float v = -20; v <= 20; v += 0.003f) x.push_back(v);
    const std::vector<float> before = x;
    ASSERT_EQ(cpu::BiasActivation({.x = x.data(),
                                   .activation = activation,
                                   .rows = 1,
                                   .columns = static_cast<int64_t>(x.size()),
                                   .stride = static_cast<int64_t>(x.size())},
                                  &stream),
              Status::kOk);
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = Activate(activation, before[i]);
      ASSERT_NEAR(x[i], expected, kTolerance * std::max(1.0, std::abs(expected)))
          << "activation " << static_cast<int>(activation) << " of " << before[i];
    }
  }
}

TEST_P(RowOpsTest, ActivationsKeepNanAndSurviveInfinity) {
  const float infinity = std::numeric_limits<float>::infinity();
  CpuStream stream(GetParam());
  for (Activation activation : {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu,
                                Activation::kTanh, Activation::kLeakyRelu}) {
    std::vector<float> x = {std::nanf(""), infinity, 1e30f, std::nanf("")};
    const BiasActivationParams params = {
        .x = x.data(), .activation = activation, .rows = 1, .columns = 4, .stride = 4};
    ASSERT_EQ(cpu::BiasActivation(params, &stream), Status::kOk);
    EXPECT_TRUE(std::isnan(x[0]) && std::isnan(x[3]));
    EXPECT_EQ(x[1], activation == Activation::kTanh ? 1.0f : infinity);
    EXPECT_EQ(x[2], activation == Activation::kTanh ? 1.0f : 1e30f);
  }
}

TEST_P(RowOpsTest, ActivationAddsTheBiasToEachRow) {
  CpuStream stream(GetParam());
  for (int64_t width : kWidths) {
    // Rows two apart: what lies between them stays.
    std::vector<float> x(40 * (width + 2), 1.0f);
    const std::vector<float> bias = Random(width);
    ASSERT_EQ(
        cpu::BiasActivation(
            {.x = x.data(), .bias = bias.data(), .rows = 40, .columns = width, .stride = width + 2},
            &stream),
        Status::kOk);
    for (size_t i = 0; i < x.size(); ++i) {
      const int64_t c = static_cast<int64_t>(i) % (width + 2);
      EXPECT_EQ(x[i], c < width ? 1.0f + bias[c] : 1.0f);
    }
  }
}

TEST_P(RowOpsTest, ActivatesTheSumWithTheResidual) {
  CpuStream stream(GetParam());
  for (int64_t width : kWidths) {
    std::vector<float> x = Random(40 * width);
    const std::vector<float> before = x, bias = Random(width), residual = Random(40 * (width + 1));
    ASSERT_EQ(cpu::BiasActivation({.x = x.data(),
                                   .bias = bias.data(),
                                   .residual = residual.data(),
                                   .activation = Activation::kRelu,
                                   .rows = 40,
                                   .columns = width,
                                   .stride = width,
                                   .residual_stride = width + 1},
                                  &stream),
              Status::kOk);
    for (int64_t i = 0; i < 40 * width; ++i) {
      const float sum = before[i] + bias[i % width] + residual[i / width * (width + 1) + i % width];
      EXPECT_EQ(x[i], std::max(sum, 0.0f));
    }
  }
}

TEST_P(RowOpsTest, LayerNormMatchesTheFormula) {
  constexpr double kTolerance = 1e-5;
  ShuffledStream stream(GetParam(), 2);
  for (int64_t width : kWidths) {
    const int64_t rows = 35;
    std::vector<float> x = Random(rows * width);
    // A mean far from zero: one pass over squares would lose the variance.
    for (float& value : x) value += 8;
    const std::vector<float> bias = Random(width), residual = Random(rows * width);
    const std::vector<float> gamma = Random(width), beta = Random(width);
    std::vector<float> out(rows * width);
    ASSERT_EQ(cpu::LayerNorm({.x = x.data(),
                              .bias = bias.data(),
                              .residual = residual.data(),
                              .gamma = gamma.data(),
                              .beta = beta.data(),
                              .out = out.data(),
                              .rows = rows,
                              .columns = width,
                              .x_stride = width,
                              .residual_stride = width,
                              .out_stride = width,
                              .eps = 1e-2f},
                             &stream),
              Status::kOk);
    std::vector<double> expected;
    for (int64_t i = 0; i < rows; ++i) {
      std::vector<double> row(width);
      for (int64_t c = 0; c < width; ++c) {
        row[c] = static_cast<double>(x[i * width + c]) + bias[c] + residual[i * width + c];
      }
      NormalizeInDouble(row, gamma.data(), beta.data(), 1e-2);
      expected.insert(expected.end(), row.begin(), row.end());
    }
    EXPECT_LE(WorstError(out, expected), kTolerance) << "width " << width;
  }
}

TEST_P(RowOpsTest, EmbeddingAddsWordPositionAndTypeAndNormalizes) {
  constexpr double kTolerance = 1e-5;
  ShuffledStream stream(GetParam(), 2);
  const std::vector<int32_t> ids = {3, 0, 9, 9, 1, 2, 5};
  const std::vector<int32_t> cu_lengths = {0, 2, 3, 7};
  const std::vector<int64_t> places = {0, 1, 0, 0, 1, 2, 3};
  for (int64_t width : kWidths) {
    const std::vector<float> words = Random(10 * width), positions = Random(4 * width);
    const std::vector<float> type = Random(width), gamma = Random(width), beta = Random(width);
    std::vector<float> out(ids.size() * width);
    ASSERT_EQ(cpu::Embedding({.ids = ids.data(),
                              .cu_lengths = cu_lengths.data(),
                              .words = words.data(),
                              .positions = positions.data(),
                              .token_type = type.data(),
                              .gamma = gamma.data(),
                              .beta = beta.data(),
                              .out = out.data(),
                              .sequences = 3,
                              .tokens = 7,
                              .columns = width,
                              .eps = 1e-2f},
                             &stream),
              Status::kOk);
    std::vector<double> expected;
    for (size_t i = 0; i < ids.size(); ++i) {
      std::vector<double> row(width);
      for (int64_t c = 0; c < width; ++c) {
        row[c] = static_cast<double>(words[ids[i] * width + c]) + positions[places[i] * width + c] +
                 type[c];
      }
      NormalizeInDouble(row, gamma.data(), beta.data(), 1e-2);
      expected.insert(expected.end(), row.begin(), row.end());
    }
    EXPECT_LE(WorstError(out, expected), kTolerance) << "width " << width;
  }
}

TEST_P(RowOpsTest, PatchTokensArePrefixThenPatchesAtTheirPositions) {
  constexpr int64_t kImages = 3, kTokens = 7;
  for (int64_t prefix : {0, 1, 3}) {
    for (int64_t width : {1, 5, 8, 9, 40}) {
      const int64_t patches = kTokens - prefix;
      const std::vector<float> table = Random(kTokens * width);
      const std::vector<float> rows = Random(kImages * patches * width);
      std::vector<float> out(kImages * kTokens * width + 1, 77.0f);
      ShuffledStream stream(GetParam(), 2);
      ASSERT_EQ(cpu::PatchTokens({.patches = rows.data(),
                                  .table = table.data(),
                                  .out = out.data(),
                                  .images = kImages,
                                  .tokens = kTokens,
                                  .prefix = prefix,
                                  .columns = width},
                                 &stream),
                Status::kOk);
      EXPECT_EQ(out.back(), 77.0f);
      for (int64_t i = 0; i < kImages * kTokens * width; ++i) {
        const int64_t token = i / width % kTokens;
        const int64_t patch = i / width / kTokens * patches + token - prefix;
        float expected = table[token * width + i % width];
        if (token >= prefix) expected += rows[patch * width + i % width];
        ASSERT_EQ(out[i], expected) << i << " of width " << width;
      }
    }
  }
}

TEST_P(RowOpsTest, PatchTokensRefuseWhatTheyCannotCompute) {
  CpuStream stream(GetParam());
  std::vector<float> values(8), out(8);
  const PatchTokensParams good = {.patches = values.data(),
                                  .table = values.data(),
                                  .out = out.data(),
                                  .images = 1,
                                  .tokens = 2,
                                  .prefix = 1,
                                  .columns = 2};
  ASSERT_EQ(cpu::PatchTokens(good, &stream), Status::kOk);
  PatchTokensParams bad = good;
  bad.dtype = DType::kF16;
  EXPECT_EQ(cpu::PatchTokens(bad, &stream), Status::kBadDType);
  bad = good;
  bad.prefix = 3;
  EXPECT_EQ(cpu::PatchTokens(bad, &stream), Status::kBadShape);
  bad = good;
  bad.columns = 0;
  EXPECT_EQ(cpu::PatchTokens(bad, &stream), Status::kBadShape);
}

TEST_P(RowOpsTest, PoolRefusesToWriteAnythingButFloat32) {
  CpuStream stream(GetParam());
  EXPECT_EQ(cpu::Pool({.out_dtype = DType::kF16, .columns = 8}, &stream), Status::kBadDType);
}

TEST_P(RowOpsTest, PoolsEachSegmentInItsOwnMode) {
  CpuStream stream(GetParam());
  for (int64_t width : kWidths) {
    const std::vector<float> x = Random(6 * width);
    const std::vector<PoolSegment> segments = {{0, 4, PoolMode::kMean},
                                               {1, 4, PoolMode::kFirst},
                                               {0, 5, PoolMode::kMax},
                                               {2, 6, PoolMode::kLast},
                                               {5, 6, PoolMode::kMean}};
    std::vector<float> out(5 * width);
    ASSERT_EQ(cpu::Pool({.x = x.data(),
                         .segments = segments.data(),
                         .out = out.data(),
                         .segment_count = 5,
                         .columns = width},
                        &stream),
              Status::kOk);
    for (int64_t c = 0; c < width; ++c) {
      const auto at = [&](int64_t row) { return x[row * width + c]; };
      EXPECT_NEAR(out[c], (static_cast<double>(at(0)) + at(1) + at(2) + at(3)) / 4, 1e-6);
      EXPECT_EQ(out[width + c], at(1));
      EXPECT_EQ(out[2 * width + c], std::max({at(0), at(1), at(2), at(3), at(4)}));
      EXPECT_EQ(out[3 * width + c], at(5));
      EXPECT_EQ(out[4 * width + c], at(5));
    }
  }
}

TEST_P(RowOpsTest, PoolNormalizesOnlyWhereAsked) {
  CpuStream stream(GetParam());
  for (int64_t width : kWidths) {
    std::vector<float> x = Random(2 * width);
    // The second row is zero: its length is taken as 1e-12 and the result stays zero.
    std::fill(x.begin() + width, x.end(), 0.0f);
    const std::vector<PoolSegment> segments = {
        {0, 1, PoolMode::kMean, 1}, {0, 1, PoolMode::kMean, 0}, {1, 2, PoolMode::kMean, 1}};
    std::vector<float> out(3 * width);
    ASSERT_EQ(cpu::Pool({.x = x.data(),
                         .segments = segments.data(),
                         .out = out.data(),
                         .segment_count = 3,
                         .columns = width},
                        &stream),
              Status::kOk);
    double squares = 0;
    for (int64_t c = 0; c < width; ++c) squares += static_cast<double>(x[c]) * x[c];
    for (int64_t c = 0; c < width; ++c) {
      EXPECT_NEAR(out[c], x[c] / std::sqrt(squares), 1e-6);
      EXPECT_EQ(out[width + c], x[c]);
      EXPECT_EQ(out[2 * width + c], 0.0f);
    }
  }
}

TEST_P(RowOpsTest, MaxPoolingReportsANanWhereverItIs) {
  CpuStream stream(GetParam());
  for (int64_t bad = 0; bad < 3; ++bad) {
    std::vector<float> x = Random(3 * 9);
    x[bad * 9 + 4] = std::nanf("");
    const PoolSegment segment = {0, 3, PoolMode::kMax};
    std::vector<float> out(9);
    ASSERT_EQ(cpu::Pool({.x = x.data(),
                         .segments = &segment,
                         .out = out.data(),
                         .segment_count = 1,
                         .columns = 9},
                        &stream),
              Status::kOk);
    for (int c = 0; c < 9; ++c) EXPECT_EQ(std::isnan(out[c]), c == 4) << "row " << bad;
  }
}

}  // namespace
}  // namespace contextpool::kernels
