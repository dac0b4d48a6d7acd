#include <numeric>

#include "tests/unit/kernels/context_pool_batch.h"

namespace contextpool::kernels {
namespace {

CONTEXTPOOL_TEST_EVERY_ISA(ContextPoolTest);

TEST_P(ContextPoolTest, MatchesTheFormulaForEveryNormalizationAndResidual) {
  for (PoolNormalization normalization :
       {PoolNormalization::kSum, PoolNormalization::kMean, PoolNormalization::kNone}) {
    for (PoolResidual residual : {PoolResidual::kNone, PoolResidual::kAdd, PoolResidual::kGate}) {
      for (int64_t columns : {1, 16, 23, 48, 70}) {
        Batch batch = Make({1, 2, 5, 6, 7, 12, 13, 31, 70, 0, 3}, columns, 5);
        batch.normalization = normalization;
        batch.residual = residual;
        batch.gate = -0.75f;
        batch.prefix = columns % 2;
        for (int threads : {1, 3}) {
          RunAndCompare(batch, threads,
                        "normalization " + std::to_string(static_cast<int>(normalization)) +
                            ", residual " + std::to_string(static_cast<int>(residual)));
        }
      }
    }
  }
}

TEST_P(ContextPoolTest, MatchesTheFormulaForEveryLength) {
  std::vector<int32_t> lengths(71);
  std::iota(lengths.begin(), lengths.end(), 0);
  lengths.push_back(512);
  for (float skip_bits : {24.0f, kInfinity}) {
    for (int64_t prefix : {0, 1, 4}) {
      Batch batch = Make(lengths, 17);
      batch.skip_bits = skip_bits;
      batch.prefix = prefix;
      RunAndCompare(batch, 2, "skip_bits " + std::to_string(skip_bits));
    }
  }
}

TEST_P(ContextPoolTest, MatchesTheFormulaForExtremeSizes) {
  // 1e30 squared is infinite: every token counts alike.
  for (float size : {0.0f, 1e-20f, 0.3f, 52.0f, 1e10f, 1e30f}) {
    for (int64_t columns : {16, 20}) {
      Batch batch = Make({1, 40, 150}, columns);
      std::fill(batch.support_size.begin(), batch.support_size.end(), size);
      RunAndCompare(batch, 1, "size " + std::to_string(size));
      // Beside rows of another size in the same tile.
      for (size_t i = 0; i < batch.support_size.size(); i += 3) batch.support_size[i] = 2;
      RunAndCompare(batch, 1, "sizes 2 and " + std::to_string(size));
    }
  }
}

TEST_P(ContextPoolTest, MatchesTheFormulaForExtremeWeights) {
  for (float skip_bits : {24.0f, kInfinity}) {
    Batch batch = Make({300}, 4);
    batch.skip_bits = skip_bits;
    for (const std::vector<float>& weights : AdversarialWeights(batch.tokens())) {
      batch.log_weight = weights;
      for (PoolNormalization normalization : {PoolNormalization::kSum, PoolNormalization::kNone}) {
        batch.normalization = normalization;
        RunAndCompare(batch, 2, "first weight 2^" + std::to_string(weights[0]));
      }
    }
  }
}

// With x = 1 and no division the result is the mass that was not dropped.
TEST_P(ContextPoolTest, DropsNoMoreThanTheRuleAllows) {
  Batch batch = Make({400}, 1);
  std::fill(batch.x.begin(), batch.x.end(), 1.0f);
  batch.normalization = PoolNormalization::kNone;
  for (const std::vector<float>& weights : AdversarialWeights(batch.tokens())) {
    batch.log_weight = weights;
    for (float skip_bits : {12.0f, 16.0f, 24.0f, kInfinity}) {
      batch.skip_bits = skip_bits;
      const std::vector<float> mass = Run(batch);
      for (int64_t i = 0; i < batch.tokens(); ++i) {
        const double all = Formula(batch, 0, batch.tokens(), i)[0].y;
        const double share = (all - mass[i]) / all;
        ASSERT_LE(std::abs(share), 400 * std::exp2(-static_cast<double>(skip_bits)) + kTolerance)
            << "token " << i << ", weight 2^" << weights[i] << ", " << skip_bits << " bits";
      }
    }
  }
}

TEST_P(ContextPoolTest, AFarTokenOfGreatWeightIsNotLost) {
  Batch batch = Make({200}, 16);
  std::fill(batch.support_size.begin(), batch.support_size.end(), 10.0f);
  std::fill(batch.log_weight.begin(), batch.log_weight.end(), -30.0f);
  batch.log_weight[190] = 20;
  std::fill(batch.x.begin(), batch.x.end(), 0.0f);
  std::fill_n(batch.x.begin() + 190 * 16, 16, 1.0f);
  // 7 sigma away it still outweighs everybody else.
  EXPECT_GT(Run(batch)[120 * 16], 0.99f);
}

TEST_P(ContextPoolTest, ARowOfSmallWeightKeepsItsNeighbours) {
  // Rows 6 to 11 are one tile; only the last one needs token 12.
  Batch batch = Make({18}, 16);
  std::fill(batch.support_size.begin(), batch.support_size.end(), 0.3f);
  std::fill(batch.log_weight.begin(), batch.log_weight.end(), 0.0f);
  batch.log_weight[6] = kMaxLogWeight;
  std::fill_n(batch.log_weight.begin() + 7, 5, kMinLogWeight);
  RunAndCompare(batch, 1, "a great and a small weight in one tile");
}

// Even where the rule drops a good part of the sums, both sides of the quotient lose it.
TEST_P(ContextPoolTest, ReproducesConstants) {
  Batch batch = Make({300}, 16);
  std::fill(batch.x.begin(), batch.x.end(), 3.0f);
  std::fill(batch.support_size.begin(), batch.support_size.end(), 20.0f);
  for (float skip_bits : {8.0f, 24.0f}) {
    batch.skip_bits = skip_bits;
    for (const std::vector<float>& weights : AdversarialWeights(batch.tokens())) {
      batch.log_weight = weights;
      for (float value : Run(batch)) ASSERT_NEAR(value, 3.0f, 6e-6f);
    }
  }
}

TEST_P(ContextPoolTest, ASequenceDoesNotDependOnItsNeighbours) {
  for (int64_t columns : {32, 21}) {
    const Batch batch = Make({13, 140, 22}, columns);
    const std::vector<float> together = Run(batch, 3);
    Batch alone = batch;
    alone.cu_lengths = {0, 140};
    const auto cut = [](std::vector<float>& values, int64_t width) {
      values = {values.begin() + 13 * width, values.begin() + 153 * width};
    };
    cut(alone.x, columns);
    cut(alone.log_weight, 1);
    cut(alone.support_size, 1);
    const std::vector<float> expected(together.begin() + 13 * columns,
                                      together.begin() + 153 * columns);
    for (int threads : {1, 2}) EXPECT_EQ(Run(alone, threads), expected);
  }
}

TEST_P(ContextPoolTest, ANanStaysInItsSequence) {
  Batch batch = Make({9, 17, 5}, 24);
  batch.prefix = 1;
  std::vector<float> before = Run(batch);
  const float nan = std::nanf("");
  // The neighbours before and after, and the sequence's own prefix.
  for (int64_t i = 0; i < batch.tokens(); ++i) {
    if (i > 9 && i < 26) continue;
    std::fill_n(batch.x.begin() + i * 24, 24, nan);
    batch.log_weight[i] = batch.support_size[i] = nan;
  }
  const std::vector<float> after = Run(batch);
  for (int64_t i = 10 * 24; i < 26 * 24; ++i) ASSERT_EQ(after[i], before[i]) << i;
}

TEST_P(ContextPoolTest, ANanWeightOrSizeIsNotSkipped) {
  // Whatever the NaN's payload: exponents made by integer arithmetic could turn one into a number.
  for (const char* payload : {"", "1", "257", "0x1ff"}) {
    Batch batch = Make({300}, 16);
    std::fill(batch.support_size.begin(), batch.support_size.end(), 0.5f);
    for (int64_t token : {0, 7, 299}) {
      Batch bad = batch;
      bad.log_weight[token] = std::nanf(payload);
      for (float value : Run(bad)) ASSERT_TRUE(std::isnan(value)) << token;
      bad = batch;
      bad.support_size[token] = std::nanf(payload);
      const std::vector<float> out = Run(bad);
      for (int64_t i = 0; i < 300 * 16; ++i) ASSERT_EQ(std::isnan(out[i]), i / 16 == token) << i;
    }
  }
}

TEST_P(ContextPoolTest, ANanTokenSpoilsWhoSeesIt) {
  Batch batch = Make({40}, 16);
  std::fill(batch.support_size.begin(), batch.support_size.end(), 5.0f);
  batch.x[20 * 16 + 3] = std::nanf("");
  const std::vector<float> out = Run(batch);
  for (int64_t i = 0; i < 40; ++i) {
    for (int64_t c = 0; c < 16; ++c) EXPECT_EQ(std::isnan(out[i * 16 + c]), c == 3) << i;
  }
}

TEST_P(ContextPoolTest, PrefixTokensAreCopied) {
  Batch batch = Make({3, 0, 1, 2, 10}, 19, 3);
  for (int64_t prefix : {2, 3, 100}) {
    batch.prefix = prefix;
    // Adding would show.
    batch.residual = PoolResidual::kAdd;
    for (int threads : {1, 2}) RunAndCompare(batch, threads, std::to_string(prefix) + " prefix");
  }
}

TEST_P(ContextPoolTest, CountsTheTilesOfWeights) {
  // Sequences of 85 and 4 tiles of rows, 32 and 2 of tokens, after one prefix token each.
  Batch batch = Make({511, 23}, 16);
  batch.prefix = 1;
  constexpr int64_t kAll = 85 * 32 + 4 * 2;
  const auto run = [&](float size, float skip_bits) {
    std::fill(batch.support_size.begin(), batch.support_size.end(), size);
    batch.skip_bits = skip_bits;
    ContextPoolTiles tiles = {1000, 2000};
    Run(batch, 3, &tiles);
    EXPECT_EQ(tiles.computed + tiles.skipped, 3000 + kAll);
    return tiles.skipped - 2000;
  };
  EXPECT_EQ(run(100, kInfinity), 0);
  EXPECT_EQ(run(1e30f, 24), 0);
  if (GetParam() == Isa::kReference) {
    EXPECT_EQ(run(0, 24), 0);
    return;
  }
  // At size 0 each row sees itself only; two tiles of tokens where it lies across a border. Rows
  // are divided evenly: 22 are two tiles of 5 and two of 6.
  int64_t needed = 0;
  for (int64_t n : {510, 22}) {
    const int64_t tiles = (n + 5) / 6;
    for (int64_t t = 0; t < tiles; ++t) {
      needed += ((t + 1) * n / tiles - 1) / 16 - t * n / tiles / 16 + 1;
    }
  }
  EXPECT_EQ(run(0, 24), kAll - needed);
  // Weights within 2^10 of each other and 24 bits: no token further than 7 sigma counts.
  const int64_t skipped = run(1, 24);
  EXPECT_GE(skipped, kAll * 3 / 4);
  EXPECT_LT(skipped, kAll - needed);
}

TEST_P(ContextPoolTest, WeightsOfZeroAreSkippedAlways) {
  Batch batch = Make({96}, 16);
  batch.skip_bits = kInfinity;
  std::fill(batch.log_weight.begin() + 48, batch.log_weight.end(), -kInfinity);
  batch.normalization = PoolNormalization::kMean;
  ContextPoolTiles tiles;
  RunAndCompare(batch, 1, "half of the weights are 0", &tiles);
  if (GetParam() == Isa::kReference) {
    EXPECT_EQ(tiles.skipped, 0);
  } else {
    // The first 8 of 16 tiles of rows see none of the last three of 6 tiles of tokens.
    EXPECT_GE(tiles.skipped, 8 * 3);
  }
}

TEST_P(ContextPoolTest, RefusesWhatItCannotCompute) {
  float value = 0;
  const int32_t cu_lengths[] = {0, 0};
  CpuStream stream(GetParam());
  const ContextPoolParams good = {.x = &value,
                                  .cu_lengths = cu_lengths,
                                  .out = &value,
                                  .workspace = &value,
                                  .sequences = 1,
                                  .columns = 4,
                                  .x_stride = 4,
                                  .out_stride = 4};
  ASSERT_EQ(cpu::ContextPool(good, &stream), Status::kOk);
  ContextPoolParams p = good;
  p.dtype = DType::kF16;
  EXPECT_EQ(cpu::ContextPool(p, &stream), Status::kBadDType);
  const auto refuses = [&](auto member, auto bad) {
    ContextPoolParams broken = good;
    broken.*member = bad;
    return cpu::ContextPool(broken, &stream) == Status::kBadShape;
  };
  EXPECT_TRUE(refuses(&ContextPoolParams::x_stride, 3));
  EXPECT_TRUE(refuses(&ContextPoolParams::out_stride, 3));
  EXPECT_TRUE(refuses(&ContextPoolParams::columns, 0));
  EXPECT_TRUE(refuses(&ContextPoolParams::sequences, -1));
  EXPECT_TRUE(refuses(&ContextPoolParams::max_length, -1));
  EXPECT_TRUE(refuses(&ContextPoolParams::prefix, -1));
  EXPECT_TRUE(refuses(&ContextPoolParams::grid_width, -1));
  EXPECT_TRUE(refuses(&ContextPoolParams::skip_bits, -1.0f));
  EXPECT_TRUE(refuses(&ContextPoolParams::skip_bits, std::nanf("")));
  EXPECT_TRUE(refuses(&ContextPoolParams::workspace, nullptr));
}

}  // namespace
}  // namespace contextpool::kernels
