#include "kernels/attention.h"

#include <algorithm>

#include "tests/unit/kernels/kernel_test.h"

namespace contextpool::kernels {
namespace {

// Scores reach +-20 here; weights and values are below 1.
constexpr double kTolerance = 1e-5;

class AttentionTest : public KernelTest {
 protected:
  struct Batch {
    std::vector<int32_t> cu_lengths = {0};
    int64_t heads = 1;
    int64_t head_size = 1;
    std::vector<float> qkv;
    int64_t width() const { return heads * head_size; }
    int64_t tokens() const { return cu_lengths.back(); }
  };

  Batch Make(const std::vector<int32_t>& lengths, int64_t heads, int64_t head_size) {
    Batch batch;
    batch.heads = heads;
    batch.head_size = head_size;
    for (int32_t length : lengths) batch.cu_lengths.push_back(batch.cu_lengths.back() + length);
    batch.qkv = Random(batch.tokens() * 3 * batch.width(), 3);
    return batch;
  }

  std::vector<float> Run(const Batch& batch, int threads) {
    int64_t longest = 0;
    for (size_t i = 1; i < batch.cu_lengths.size(); ++i) {
      longest = std::max<int64_t>(longest, batch.cu_lengths[i] - batch.cu_lengths[i - 1]);
    }
    // Poisoned: what is not written must not be read.
    std::vector<float> workspace(
        cpu::AttentionWorkspaceBytes(longest, batch.head_size, threads) / sizeof(float),
        std::nanf(""));
    std::vector<float> out(batch.tokens() * batch.width() + 1, 77.0f);
    ShuffledStream stream(GetParam(), threads);
    const AttentionParams params = {.qkv = batch.qkv.data(),
                                    .cu_lengths = batch.cu_lengths.data(),
                                    .out = out.data(),
                                    .workspace = workspace.data(),
                                    .sequences = static_cast<int64_t>(batch.cu_lengths.size()) - 1,
                                    .max_length = longest,
                                    .heads = batch.heads,
                                    .head_size = batch.head_size,
                                    .scale = Scale(batch)};
    EXPECT_EQ(cpu::Attention(params, &stream), Status::kOk);
    EXPECT_EQ(out.back(), 77.0f);
    out.pop_back();
    return out;
  }

  static float Scale(const Batch& batch) {
    return 1.0f / std::sqrt(static_cast<float>(batch.head_size));
  }

  static std::vector<double> Expected(const Batch& batch) {
    std::vector<double> out(batch.tokens() * batch.width());
    for (size_t s = 0; s + 1 < batch.cu_lengths.size(); ++s) {
      for (int64_t head = 0; head < batch.heads; ++head) {
        for (int64_t i = batch.cu_lengths[s]; i < batch.cu_lengths[s + 1]; ++i) {
          ExpectRow(batch, batch.cu_lengths[s], batch.cu_lengths[s + 1], head, i, out);
        }
      }
    }
    return out;
  }

  static void ExpectRow(const Batch& batch, int64_t begin, int64_t end, int64_t head, int64_t i,
                        std::vector<double>& out) {
    const auto at = [&](int64_t token, int64_t part, int64_t d) {
      return static_cast<double>(
          batch.qkv[(token * 3 + part) * batch.width() + head * batch.head_size + d]);
    };
    double sum = 0;
    std::vector<double> weighted(batch.head_size);
    for (int64_t j = begin; j < end; ++j) {
      double score = 0;
      for (int64_t d = 0; d < batch.head_size; ++d) score += at(i, 0, d) * at(j, 1, d);
      const double weight = std::exp(score * Scale(batch));
      sum += weight;
      for (int64_t d = 0; d < batch.head_size; ++d) weighted[d] += weight * at(j, 2, d);
    }
    for (int64_t d = 0; d < batch.head_size; ++d) {
      out[i * batch.width() + head * batch.head_size + d] = weighted[d] / sum;
    }
  }
};

CONTEXTPOOL_TEST_EVERY_ISA(AttentionTest);

TEST_P(AttentionTest, MatchesTheFormulaForAnyLengthAndHeadSize) {
  for (const auto& [heads, head_size] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {2, 8}, {3, 5}, {2, 16}, {1, 20}, {4, 32}, {2, 33}, {2, 64}}) {
    const Batch batch = Make({1, 2, 7, 8, 9, 15, 16, 17, 24, 25, 31, 33, 70}, heads, head_size);
    const std::vector<double> expected = Expected(batch);
    for (int threads : {1, 3}) {
      EXPECT_LE(WorstError(Run(batch, threads), expected), kTolerance)
          << heads << " heads of " << head_size << ", " << threads << " threads";
    }
  }
}

TEST_P(AttentionTest, SurvivesScoresThatOverflowAnUnshiftedExponential) {
  Batch batch = Make({19}, 1, 8);
  for (float& value : batch.qkv) value *= 10;
  for (float value : Run(batch, 1)) EXPECT_TRUE(std::isfinite(value));
}

TEST_P(AttentionTest, ASequenceDoesNotDependOnItsNeighbours) {
  const Batch batch = Make({13, 40, 22}, 2, 24);
  const std::vector<float> together = Run(batch, 2);
  Batch alone = batch;
  alone.cu_lengths = {0, 40};
  alone.qkv.assign(batch.qkv.begin() + 13 * 3 * 48, batch.qkv.begin() + 53 * 3 * 48);
  EXPECT_EQ(Run(alone, 2),
            std::vector<float>(together.begin() + 13 * 48, together.begin() + 53 * 48));
}

TEST_P(AttentionTest, ANanStaysInItsSequence) {
  Batch batch = Make({5, 9, 5}, 2, 8);
  std::fill(batch.qkv.begin() + 5 * 48, batch.qkv.begin() + 14 * 48, std::nanf(""));
  const std::vector<float> out = Run(batch, 1);
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(std::isnan(out[i]), i / 16 >= 5 && i / 16 < 14) << i;
  }
}

TEST_P(AttentionTest, ANanKeySpoilsEveryRowOfItsSequence) {
  // Whatever the NaN's payload: exponents made by integer arithmetic could turn one into a number.
  for (const char* payload : {"", "1", "257", "0x1ff"}) {
    Batch batch = Make({20}, 1, 8);
    batch.qkv[19 * 24 + 8] = std::nanf(payload);
    for (float value : Run(batch, 1)) EXPECT_TRUE(std::isnan(value)) << payload;
  }
}

}  // namespace
}  // namespace contextpool::kernels
