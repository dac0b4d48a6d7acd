// BERT with ContextPool against the Python module in double precision: every option, lengths of 1
// to 512, one token, weights and support sizes at the ends of their ranges.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu_stream.h"
#include "tests/parity/parity.h"

namespace contextpool::engine {
namespace {

constexpr OutputSpec kMean = {.task = TaskKind::kEmbed, .pooling = Pooling::kMean};
constexpr OutputSpec kLogits = {.task = TaskKind::kClassify};
constexpr int64_t kTokenBudget = 1536;
constexpr double kTolerance = 1e-4;

std::filesystem::path Folder() { return GoldenFolder() / "context_pool"; }

std::vector<float> Part(const std::vector<float>& values, size_t begin, size_t count) {
  return {values.begin() + static_cast<ptrdiff_t>(begin),
          values.begin() + static_cast<ptrdiff_t>(begin + count)};
}

class ContextPoolParityTest : public ::testing::TestWithParam<CheckpointAndBackend> {
 protected:
  ContextPoolParityTest()
      : directory_(Folder() / std::get<0>(GetParam())),
        golden_(directory_ / "expected.safetensors"),
        model_(directory_, std::get<1>(GetParam())) {}

  size_t rows() const { return 2 * model_.info().context_pool_layers.size(); }
  // Whether a product's result depends on how many rows it has.
  bool torch() const {
    const CpuDeviceOptions& options = std::get<1>(GetParam()).options;
    return options.gemm == CpuGemm::kLibTorch;
  }

  // Every other sequence is classified, if the model can.
  std::vector<OutputSpec> Outputs(size_t count) const {
    std::vector<OutputSpec> outputs(count, kMean);
    for (size_t i = 0; model_.info().classifies() && i < count; i += 2) outputs[i] = kLogits;
    return outputs;
  }

  // What the layers chose for one sequence of a batch.
  std::vector<float> Chosen(const Answer& answer, const std::vector<TokenIds>& batch,
                            size_t index) const {
    size_t begin = 0;
    size_t total = 0;
    for (size_t i = 0; i < batch.size(); ++i) {
      if (i == index) begin = total;
      total += batch[i].size();
    }
    std::vector<float> chosen;
    for (size_t row = 0; row < rows(); ++row) {
      const std::vector<float> part =
          Part(answer.context_pool, row * total + begin, batch[index].size());
      chosen.insert(chosen.end(), part.begin(), part.end());
    }
    return chosen;
  }

  const std::filesystem::path directory_;
  const Golden golden_;
  const TestModel model_;
};

TEST_P(ContextPoolParityTest, EmbeddingsEqualPyTorch) {
  const double error =
      MaxError(model_.Run(golden_.sequences, kMean, kTokenBudget), golden_.Rows("mean"), 1);
  RecordError("mean", error);
  EXPECT_LT(error, kTolerance);
}

TEST_P(ContextPoolParityTest, LogitsEqualPyTorch) {
  ASSERT_EQ(model_.info().classifies(), golden_.Has("logits"));
  if (!golden_.Has("logits")) return;
  const double error =
      MaxError(model_.Run(golden_.sequences, kLogits, kTokenBudget), golden_.Rows("logits"), 1);
  RecordError("logits", error);
  EXPECT_LT(error, kTolerance);
}

// Weights lie between 2^-100 and 2^20, so their logarithms are compared, relative to the largest:
// what is summed up to them is as large.
TEST_P(ContextPoolParityTest, WeightsAndSupportSizesEqualPyTorch) {
  const std::vector<OutputSpec> outputs(golden_.sequences.size(), kMean);
  const Answer answer = model_.Ask(golden_.sequences, outputs);
  const std::vector<float> wanted = golden_.Values("context_pool");
  ASSERT_EQ(answer.context_pool.size(), wanted.size());
  ASSERT_GT(rows(), 0u);
  const size_t tokens = wanted.size() / rows();
  Row weights;
  Row wanted_weights;
  double size_error = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const float found = answer.context_pool[i];
    if (i / tokens % 2 == 1) {
      size_error = std::max(size_error, MaxError({{found}}, {{wanted[i]}}, 1));
    } else if (wanted[i] == 0) {
      EXPECT_EQ(found, -INFINITY) << "token " << i % tokens << " is passed through";
    } else {
      weights.push_back(found);
      wanted_weights.push_back(std::log2(wanted[i]));
    }
  }
  double scale = 1;
  for (float weight : wanted_weights) scale = std::max(scale, std::abs(double{weight}));
  const double weight_error = MaxError({weights}, {wanted_weights}, scale);
  RecordError("log2_weight", weight_error);
  RecordError("support_size", size_error);
  EXPECT_LT(weight_error, kTolerance);
  EXPECT_LT(size_error, kTolerance);
}

// Weights come in tiles of 6 rows and 16 tokens; the plain implementation skips none.
TEST_P(ContextPoolParityTest, CountsItsTiles) {
  constexpr size_t kRows = 6;
  constexpr size_t kTokens = 16;
  const std::vector<OutputSpec> outputs(golden_.sequences.size(), kMean);
  const Answer first = model_.Ask(golden_.sequences, outputs);
  const Answer again = model_.Ask(golden_.sequences, outputs);
  // Whatever is passed through has the weight 0.
  const std::vector<float> weights = golden_.Values("context_pool");
  size_t begin = 0;
  size_t longest = 0;
  int64_t all = 0;
  for (const TokenIds& ids : golden_.sequences) {
    const std::vector<float> own = Part(weights, begin, ids.size());
    const size_t pooled = ids.size() - std::count(own.begin(), own.end(), 0.0f);
    all +=
        static_cast<int64_t>(((pooled + kRows - 1) / kRows) * ((pooled + kTokens - 1) / kTokens));
    longest = std::max(longest, ids.size());
    begin += ids.size();
  }
  all *= static_cast<int64_t>(model_.info().context_pool_layers.size());
  EXPECT_EQ(first.tiles.computed + first.tiles.skipped, all);
  const auto isa = std::get<1>(GetParam()).options.isa.value_or(kernels::BestIsa());
  if (isa == kernels::Isa::kReference) {
    EXPECT_EQ(first.tiles.skipped, 0);
  } else if (longest > 200) {
    EXPECT_GT(first.tiles.skipped, 0);
  }
  EXPECT_EQ(first.tiles.computed, again.tiles.computed) << "each pass counts from zero";
  EXPECT_EQ(first.tiles.skipped, again.tiles.skipped);
}

TEST_P(ContextPoolParityTest, ASequenceAloneEqualsItselfInABatch) {
  const std::vector<TokenIds>& batch = golden_.sequences;
  const std::vector<OutputSpec> outputs = Outputs(batch.size());
  const Answer together = model_.Ask(batch, outputs);
  double largest = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    const Answer alone = model_.Ask({&batch[i], 1}, {&outputs[i], 1});
    largest = std::max(largest, MaxError({together.rows[i]}, alone.rows, 1));
    if (torch()) continue;
    EXPECT_EQ(alone.rows[0], together.rows[i]) << "sequence " << i;
    EXPECT_EQ(alone.context_pool, Chosen(together, batch, i)) << "sequence " << i;
  }
  RecordError("alone", largest);
  EXPECT_LE(largest, torch() ? 1e-5 : 0);
}

TEST_P(ContextPoolParityTest, ANanInOneSequenceChangesNoBitOfAnother) {
  constexpr int32_t kPoisoned = 7;
  constexpr size_t kStep = 3;
  const TempDirectory directory;
  CopyPoisoned(directory_, directory, kPoisoned);
  const TestModel model(directory.path(), std::get<1>(GetParam()));
  std::vector<TokenIds> healthy = golden_.sequences;
  for (TokenIds& ids : healthy) std::replace(ids.begin(), ids.end(), kPoisoned, kPoisoned + 1);
  std::vector<TokenIds> poisoned = healthy;
  for (size_t i = 1; i < poisoned.size(); i += kStep) {
    poisoned[i][poisoned[i].size() / 2] = kPoisoned;
  }
  const std::vector<OutputSpec> outputs = Outputs(healthy.size());
  const Answer wanted = model.Ask(healthy, outputs);
  const Answer found = model.Ask(poisoned, outputs);
  for (size_t i = 0; i < healthy.size(); ++i) {
    if (i % kStep == 1) {
      for (float value : found.rows[i]) EXPECT_TRUE(std::isnan(value)) << "sequence " << i;
    } else {
      EXPECT_EQ(found.rows[i], wanted.rows[i]) << "sequence " << i;
      EXPECT_EQ(Chosen(found, healthy, i), Chosen(wanted, healthy, i)) << "sequence " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ContextPoolParityTest,
                         ::testing::Combine(::testing::ValuesIn(CheckpointsIn("context_pool")),
                                            ::testing::ValuesIn(Backends())),
                         CheckpointName);

}  // namespace
}  // namespace contextpool::engine
