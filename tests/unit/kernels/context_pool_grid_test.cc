#include "tests/unit/kernels/context_pool_batch.h"

namespace contextpool::kernels {
namespace {

class ContextPoolGridTest : public ContextPoolTest {
 protected:
  // Sequence `index` without its neighbours.
  static Batch Alone(const Batch& batch, int64_t index) {
    Batch alone = batch;
    const int64_t begin = batch.cu_lengths[index];
    const int64_t end = batch.cu_lengths[index + 1];
    alone.cu_lengths = {0, static_cast<int32_t>(end - begin)};
    const auto cut = [&](std::vector<float>& values, int64_t width) {
      values = {values.begin() + begin * width, values.begin() + end * width};
    };
    cut(alone.x, batch.stride());
    cut(alone.log_weight, 1);
    cut(alone.support_size, 1);
    return alone;
  }

  // NaN for all of a batch but sequence `index`, whose prefix is NaN too.
  static void Poison(Batch& batch, int64_t index) {
    const float nan = std::nanf("");
    for (int64_t i = 0; i < batch.tokens(); ++i) {
      if (i >= batch.cu_lengths[index] + batch.prefix && i < batch.cu_lengths[index + 1]) continue;
      std::fill_n(batch.x.begin() + i * batch.stride(), batch.stride(), nan);
      batch.log_weight[i] = batch.support_size[i] = nan;
    }
  }

  // The rows of `out` that are sequence `index`'s, without its prefix.
  static std::vector<float> Part(const Batch& batch, const std::vector<float>& out, int64_t index) {
    const bool dense = batch.outputs.rows == 0;
    const int64_t count = batch.outputs.count();
    const int64_t begin = dense ? batch.cu_lengths[index] + batch.prefix : index * count;
    const int64_t end = dense ? batch.cu_lengths[index + 1] : begin + count;
    return {out.begin() + begin * batch.columns, out.begin() + end * batch.columns};
  }
};

CONTEXTPOOL_TEST_EVERY_ISA(ContextPoolGridTest);

TEST_P(ContextPoolGridTest, MatchesTheFormulaForEveryShape) {
  for (int32_t width : {1, 2, 5, 7, 14, 17, 40}) {
    for (int64_t columns : {1, 16, 23, 48}) {
      for (int32_t prefix : {0, 2}) {
        const Batch batch = MakeGrids({1, 2, 3, 0, 7, 14}, width, columns, prefix);
        for (int threads : {1, 3}) {
          RunAndCompare(batch, threads, "width " + std::to_string(width));
        }
      }
    }
  }
}

TEST_P(ContextPoolGridTest, MatchesTheFormulaForEveryNormalizationAndResidual) {
  for (PoolNormalization normalization :
       {PoolNormalization::kSum, PoolNormalization::kMean, PoolNormalization::kNone}) {
    for (PoolResidual residual : {PoolResidual::kNone, PoolResidual::kAdd, PoolResidual::kGate}) {
      for (const PoolOutputs& outputs : {PoolOutputs(), InPlaceOf({3, 2, 1}, 12, 9)}) {
        Batch batch = MakeGrids({12, 12}, 9, 20);
        batch.outputs = outputs;
        batch.normalization = normalization;
        batch.residual = residual;
        batch.gate = -0.75f;
        RunAndCompare(batch, 2,
                      "normalization " + std::to_string(static_cast<int>(normalization)) +
                          ", residual " + std::to_string(static_cast<int>(residual)));
      }
    }
  }
}

TEST_P(ContextPoolGridTest, MatchesTheFormulaForExtremeSizesAndWeights) {
  for (float size : {0.0f, 0.3f, 6.0f, 1e10f, 1e30f}) {
    for (float skip_bits : {24.0f, kInfinity}) {
      Batch batch = MakeGrids({20}, 21, 16);
      batch.skip_bits = skip_bits;
      std::fill(batch.support_size.begin(), batch.support_size.end(), size);
      for (size_t i = 0; i < batch.support_size.size(); i += 5) batch.support_size[i] = 1.5f;
      for (const std::vector<float>& weights : AdversarialWeights(batch.tokens())) {
        batch.log_weight = weights;
        RunAndCompare(batch, 2, "size " + std::to_string(size));
      }
    }
  }
}

// With x = 1 and no division the result is the mass that was not dropped.
TEST_P(ContextPoolGridTest, DropsNoMoreThanTheRuleAllows) {
  Batch batch = MakeGrids({25}, 37, 1);
  std::fill(batch.x.begin(), batch.x.end(), 1.0f);
  batch.normalization = PoolNormalization::kNone;
  for (const std::vector<float>& weights : AdversarialWeights(batch.tokens())) {
    batch.log_weight = weights;
    for (float skip_bits : {12.0f, 24.0f, kInfinity}) {
      batch.skip_bits = skip_bits;
      const std::vector<float> mass = Run(batch);
      for (int64_t i = 0; i < batch.tokens(); ++i) {
        const double all = Formula(batch, 0, batch.tokens(), i)[0].y;
        const double bound = 25 * 37 * std::exp2(-static_cast<double>(skip_bits));
        ASSERT_LE(std::abs(all - mass[i]) / all, bound + kTolerance)
            << "token " << i << ", weight 2^" << weights[i] << ", " << skip_bits << " bits";
      }
    }
  }
}

TEST_P(ContextPoolGridTest, AFarTokenOfGreatWeightIsNotLost) {
  for (int64_t great : {0, 39, 20 * 40, 39 * 40 + 39}) {
    Batch batch = MakeGrids({40}, 40, 16);
    std::fill(batch.support_size.begin(), batch.support_size.end(), 4.0f);
    std::fill(batch.log_weight.begin(), batch.log_weight.end(), -30.0f);
    batch.log_weight[great] = 20;
    std::fill(batch.x.begin(), batch.x.end(), 0.0f);
    std::fill_n(batch.x.begin() + great * batch.stride(), 16, 1.0f);
    const std::vector<float> out = Run(batch);
    // 7 sigma away it still outweighs everybody else.
    for (int64_t i = 0; i < batch.tokens(); ++i) {
      if (std::hypot(i / 40 - great / 40, i % 40 - great % 40) > 28) continue;
      ASSERT_GT(out[i * 16], 0.99f) << great << " seen by " << i;
    }
  }
}

TEST_P(ContextPoolGridTest, OneRowIsOneDimension) {
  Batch batch = MakeGrids({1, 1}, 83, 24, 1);
  const std::vector<float> grid = Run(batch, 2);
  batch.grid_width = 0;
  EXPECT_EQ(Run(batch, 2), grid);
}

TEST_P(ContextPoolGridTest, OneCellStaysAsItIs) {
  Batch batch = MakeGrids({1, 1}, 1, 20);
  const std::vector<float> out = Run(batch);
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t c = 0; c < 20; ++c) {
      ASSERT_NEAR(out[i * 20 + c], batch.x[i * batch.stride() + c], 1e-6f);
    }
  }
}

TEST_P(ContextPoolGridTest, ASequenceDoesNotDependOnItsNeighbours) {
  for (const PoolOutputs& outputs : {PoolOutputs(), InPlaceOf({3, 2, 1}, 11, 19)}) {
    Batch batch = MakeGrids({11, 11, 11}, 19, 21, outputs.rows == 0 ? 2 : 0);
    batch.outputs = outputs;
    const std::vector<float> together = Run(batch, 3);
    for (int64_t index = 0; index < 3; ++index) {
      const Batch alone = Alone(batch, index);
      for (int threads : {1, 2}) {
        EXPECT_EQ(Part(alone, Run(alone, threads), 0), Part(batch, together, index)) << index;
      }
      Batch poisoned = batch;
      Poison(poisoned, index);
      EXPECT_EQ(Part(batch, Run(poisoned), index), Part(batch, together, index)) << index;
    }
  }
}

TEST_P(ContextPoolGridTest, ANanWeightOrSizeIsNotSkipped) {
  Batch batch = MakeGrids({18}, 33, 16);
  std::fill(batch.support_size.begin(), batch.support_size.end(), 0.5f);
  for (int64_t token : {0, 32, 300, 18 * 33 - 1}) {
    Batch bad = batch;
    bad.log_weight[token] = std::nanf("");
    for (float value : Run(bad)) ASSERT_TRUE(std::isnan(value)) << token;
    bad = batch;
    bad.support_size[token] = std::nanf("");
    const std::vector<float> out = Run(bad);
    for (int64_t i = 0; i < 18 * 33 * 16; ++i) ASSERT_EQ(std::isnan(out[i]), i / 16 == token) << i;
  }
}

TEST_P(ContextPoolGridTest, CountsTheTilesOfWeights) {
  // Rows of 7 and tokens of 3 tiles.
  Batch batch = MakeGrids({40, 3}, 40, 16);
  constexpr int64_t kAll = (40 * 7) * (40 * 3) + (3 * 7) * (3 * 3);
  const auto skipped = [&](float size, float skip_bits) {
    std::fill(batch.support_size.begin(), batch.support_size.end(), size);
    batch.skip_bits = skip_bits;
    ContextPoolTiles tiles;
    RunAndCompare(batch, 3, "size " + std::to_string(size), &tiles);
    EXPECT_EQ(tiles.computed + tiles.skipped, kAll);
    return tiles.skipped;
  };
  EXPECT_EQ(skipped(100, kInfinity), 0);
  if (GetParam() == Isa::kReference) {
    EXPECT_EQ(skipped(0, 24), 0);
    return;
  }
  // Each row sees itself only; columns 11 to 16 and 28 to 33 lie in two tiles.
  EXPECT_EQ(skipped(0, 24), kAll - 43 * (7 + 2));
  // No token further than 7 cells counts: at most 15 of 40 rows and, in most of them, 2 of 3 tiles.
  EXPECT_GE(skipped(1, 24), kAll / 2);
}

TEST_P(ContextPoolGridTest, OutputsStandWhereAPoolingLayerHadThem) {
  const Window windows[] = {{3, 2, 1}, {2, 2, 0}, {3, 3, 0}, {2, 1, 1},
                            {3, 1, 2}, {5, 4, 2}, {1, 1, 0}};
  for (const Window& window : windows) {
    for (const auto& [rows, width] : {std::pair{5, 5}, {17, 12}, {8, 50}}) {
      Batch batch = MakeGrids({rows, rows}, width, 24);
      batch.outputs = InPlaceOf(window, rows, width);
      for (int threads : {1, 3}) {
        RunAndCompare(batch, threads,
                      "window " + std::to_string(window.size) + ", stride " +
                          std::to_string(window.stride) + ", width " + std::to_string(width));
      }
    }
  }
}

TEST_P(ContextPoolGridTest, AMeanIsReplacedByOneOutput) {
  for (int32_t rows : {1, 2, 7}) {
    for (int32_t width : {1, 4, 7}) {
      Batch batch = MakeGrids({rows, rows, rows}, width, 20);
      batch.outputs = InPlaceOfMean(rows, width);
      RunAndCompare(batch, 2, std::to_string(rows) + " x " + std::to_string(width));
    }
  }
}

TEST(PoolOutputsTest, AreCentredInTheWindows) {
  // As in a ResNet's stem.
  const PoolOutputs stem = InPlaceOf({.size = 3, .stride = 2, .padding = 1}, 112, 111);
  EXPECT_EQ(stem.rows, 56);
  EXPECT_EQ(stem.columns, 56);
  EXPECT_EQ(stem.stride, 2);
  EXPECT_EQ(stem.first_row, 0);
  EXPECT_EQ(stem.first_column, 0);
  EXPECT_EQ(InPlaceOf({.size = 3, .stride = 2, .padding = 0}, 9, 9).first_row, 1);
  EXPECT_EQ(InPlaceOf({.size = 2, .stride = 2, .padding = 0}, 9, 9).first_row, 0);
  EXPECT_EQ(InPlaceOf({.size = 2, .stride = 2, .padding = 1}, 9, 9).first_row, -1);
  const PoolOutputs final = InPlaceOfMean(7, 8);
  EXPECT_EQ(final.count(), 1);
  EXPECT_EQ(final.first_row, 3);
  EXPECT_EQ(final.first_column, 3);
}

TEST_P(ContextPoolGridTest, RefusesOutputsThatItCannotMake) {
  float value = 0;
  const int32_t cu_lengths[] = {0};
  CpuStream stream(GetParam());
  const ContextPoolParams good = {.x = &value,
                                  .cu_lengths = cu_lengths,
                                  .out = &value,
                                  .workspace = &value,
                                  .grid_width = 4,
                                  .outputs = {.rows = 2, .columns = 2, .stride = 2},
                                  .columns = 1,
                                  .x_stride = 1,
                                  .out_stride = 1};
  ASSERT_EQ(cpu::ContextPool(good, &stream), Status::kOk);
  const auto refuses = [&](const auto& spoil) {
    ContextPoolParams broken = good;
    spoil(broken);
    return cpu::ContextPool(broken, &stream) == Status::kBadShape;
  };
  EXPECT_TRUE(refuses([](ContextPoolParams& p) { p.outputs.rows = -1; }));
  EXPECT_TRUE(refuses([](ContextPoolParams& p) { p.outputs.columns = 0; }));
  EXPECT_TRUE(refuses([](ContextPoolParams& p) { p.outputs.stride = 0; }));
  EXPECT_TRUE(refuses([](ContextPoolParams& p) { p.grid_width = 0; }));
  EXPECT_TRUE(refuses([](ContextPoolParams& p) { p.prefix = 1; }));
}

}  // namespace
}  // namespace contextpool::kernels
