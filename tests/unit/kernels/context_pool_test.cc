#include "kernels/context_pool.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "tests/unit/kernels/kernel_test.h"

namespace contextpool::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSentinel = 77.0f;
// A weight's exponent of up to 128 is some roundings of 2^-18 off.
constexpr double kTolerance = 3e-5;
// Less may be zero.
constexpr double kSmallest = std::numeric_limits<float>::min();

// What one run takes and gives; x and out have rows further apart than they are long.
struct Batch {
  std::vector<int32_t> cu_lengths = {0};
  int64_t columns = 1;
  int64_t gap = 0;
  int64_t prefix = 0;
  PoolNormalization normalization = PoolNormalization::kSum;
  PoolResidual residual = PoolResidual::kNone;
  float gate = 0;
  float skip_bits = 24;
  std::vector<float> x, log_weight, support_size;

  int64_t tokens() const { return cu_lengths.back(); }
  int64_t stride() const { return columns + gap; }
  int64_t sequences() const { return static_cast<int64_t>(cu_lengths.size()) - 1; }
  int64_t longest() const {
    int64_t longest = 0;
    for (int64_t s = 0; s < sequences(); ++s) {
      longest = std::max<int64_t>(longest, cu_lengths[s + 1] - cu_lengths[s]);
    }
    return longest;
  }
};

// The formula for one column of a row, in double precision: y and, beside it, what errors are
// relative to: those of rounding to the same sum with everything positive, those of what was
// dropped to the weights' sum times the largest x.
struct Sums {
  double y = 0;
  double size = 0;
  double mass = 0;
};

// Row i of the sequence whose pooled tokens are [begin, end).
std::vector<Sums> Formula(const Batch& batch, int64_t begin, int64_t end, int64_t i) {
  const auto x = [&](int64_t j, int64_t c) -> double { return batch.x[j * batch.stride() + c]; };
  const double sigma = batch.support_size[i];
  double z = 0;
  double largest = 0;
  std::vector<Sums> row(batch.columns);
  for (int64_t j = begin; j < end; ++j) {
    const auto d = static_cast<double>(i - j);
    const double p = std::exp2(static_cast<double>(batch.log_weight[j])) *
                     std::exp(-d * d / (2 * sigma * sigma + 1e-4));
    z += p;
    for (int64_t c = 0; c < batch.columns; ++c) {
      row[c].y += p * x(j, c);
      row[c].size += p * std::abs(x(j, c));
      largest = std::max(largest, std::abs(x(j, c)));
    }
  }
  double divisor = 1;
  if (batch.normalization == PoolNormalization::kSum) divisor = z;
  if (batch.normalization == PoolNormalization::kMean) divisor = static_cast<double>(end - begin);
  for (int64_t c = 0; c < batch.columns; ++c) {
    Sums& sums = row[c];
    sums.y /= divisor;
    sums.size /= divisor;
    sums.mass = z / divisor * largest;
    if (batch.residual == PoolResidual::kAdd) sums.y += x(i, c);
    if (batch.residual == PoolResidual::kGate) {
      sums.y = x(i, c) + static_cast<double>(batch.gate) * (sums.y - x(i, c));
    }
    if (batch.residual != PoolResidual::kNone) sums.size += std::abs(x(i, c));
  }
  return row;
}

class ContextPoolTest : public KernelTest {
 protected:
  // Weights within a factor of 2^10, sizes from 0 to 8 tokens.
  Batch Make(const std::vector<int32_t>& lengths, int64_t columns, int64_t gap = 0) {
    Batch batch;
    for (int32_t length : lengths) batch.cu_lengths.push_back(batch.cu_lengths.back() + length);
    batch.columns = columns;
    batch.gap = gap;
    batch.x = Random(batch.tokens() * batch.stride());
    batch.log_weight = Random(batch.tokens(), 5);
    batch.support_size = Random(batch.tokens(), 8);
    for (float& size : batch.support_size) size = std::max(size, 0.0f);
    return batch;
  }

  // [tokens, columns] dense.
  static std::vector<float> Run(const Batch& batch, int threads = 1,
                                ContextPoolTiles* tiles = nullptr) {
    // Poisoned: what is not written must not be read.
    const size_t floats = cpu::ContextPoolWorkspaceBytes(batch.longest(), threads) / sizeof(float);
    std::vector<float> workspace(floats + 1, std::nanf(""));
    workspace.back() = kSentinel;
    const int64_t out_stride = batch.columns + 2 * batch.gap;
    std::vector<float> out(batch.tokens() * out_stride + 1, kSentinel);
    ShuffledStream stream(GetParam(), threads);
    const ContextPoolParams params = {.x = batch.x.data(),
                                      .log_weight = batch.log_weight.data(),
                                      .support_size = batch.support_size.data(),
                                      .cu_lengths = batch.cu_lengths.data(),
                                      .out = out.data(),
                                      .workspace = workspace.data(),
                                      .tiles = tiles,
                                      .normalization = batch.normalization,
                                      .residual = batch.residual,
                                      .gate = batch.gate,
                                      .skip_bits = batch.skip_bits,
                                      .sequences = batch.sequences(),
                                      .max_length = batch.longest(),
                                      .prefix = batch.prefix,
                                      .columns = batch.columns,
                                      .x_stride = batch.stride(),
                                      .out_stride = out_stride};
    EXPECT_EQ(cpu::ContextPool(params, &stream), Status::kOk);
    EXPECT_EQ(workspace.back(), kSentinel);
    std::vector<float> dense;
    for (size_t i = 0; i < out.size(); ++i) {
      const int64_t column = static_cast<int64_t>(i) % out_stride;
      if (i + 1 < out.size() && column < batch.columns) {
        dense.push_back(out[i]);
      } else {
        EXPECT_EQ(out[i], kSentinel) << i;
      }
    }
    return dense;
  }

  // Rounding errs in every sum; the bit rule may drop a share of the weights in addition.
  static void RunAndCompare(const Batch& batch, int threads, const std::string& what,
                            ContextPoolTiles* tiles = nullptr) {
    const std::vector<float> out = Run(batch, threads, tiles);
    for (int64_t s = 0; s < batch.sequences(); ++s) {
      const int64_t end = batch.cu_lengths[s + 1];
      const int64_t pooled = std::min<int64_t>(end, batch.cu_lengths[s] + batch.prefix);
      const double dropped =
          2 * static_cast<double>(end - pooled) * std::exp2(-static_cast<double>(batch.skip_bits));
      for (int64_t i = batch.cu_lengths[s]; i < end; ++i) {
        const float* found = out.data() + i * batch.columns;
        if (i < pooled) {
          for (int64_t c = 0; c < batch.columns; ++c) {
            ASSERT_EQ(found[c], batch.x[i * batch.stride() + c]) << what << ", prefix token " << i;
          }
          continue;
        }
        const std::vector<Sums> row = Formula(batch, pooled, end, i);
        for (int64_t c = 0; c < batch.columns; ++c) {
          const double error = kTolerance * row[c].size + dropped * row[c].mass;
          ASSERT_NEAR(found[c], row[c].y, error + kSmallest)
              << what << ", " << threads << " threads, sequence of " << end - pooled << ", token "
              << i - pooled << ", column " << c;
        }
      }
    }
  }

  // log2 of weights that a window of a few sigma would get wrong.
  std::vector<std::vector<float>> AdversarialWeights(int64_t tokens) {
    std::vector<std::vector<float>> all = {Random(tokens, 20), Random(tokens, 0.5f),
                                           std::vector<float>(tokens, kMinLogWeight),
                                           std::vector<float>(tokens, kMaxLogWeight)};
    // A few great weights among clamped ones, and a slope.
    std::vector<float> rare(tokens, kMinLogWeight);
    for (int64_t i = 3; i < tokens; i += 61) rare[i] = kMaxLogWeight;
    all.push_back(rare);
    for (int64_t i = 0; i < tokens; ++i) {
      rare[i] = kMinLogWeight + 120.0f * static_cast<float>(i) / static_cast<float>(tokens);
    }
    all.push_back(rare);
    return all;
  }
};

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
  // At size 0 each row sees itself only; two tiles of tokens where it lies across a border.
  int64_t needed = 0;
  for (int64_t n : {510, 22}) {
    for (int64_t row = 0; row < n; row += 6) {
      needed += std::min<int64_t>(row + 5, n - 1) / 16 - row / 16 + 1;
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
  EXPECT_TRUE(refuses(&ContextPoolParams::skip_bits, -1.0f));
  EXPECT_TRUE(refuses(&ContextPoolParams::skip_bits, std::nanf("")));
  EXPECT_TRUE(refuses(&ContextPoolParams::workspace, nullptr));
}

}  // namespace
}  // namespace contextpool::kernels
