// Random-weight checkpoints saved by transformers, against transformers in double precision.

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/algorithm/container.h"
#include "gtest/gtest.h"
#include "tests/parity/parity.h"

namespace contextpool::engine {
namespace {

constexpr OutputSpec kLogits = {TaskKind::kClassify, Pooling::kMean, false};
constexpr int64_t kTokenBudget = 1536;

class RandomCheckpointTest : public ::testing::TestWithParam<CheckpointAndBackend> {
 protected:
  RandomCheckpointTest()
      : directory_(GoldenFolder() / "random" / std::get<0>(GetParam())),
        golden_(directory_ / "expected.safetensors"),
        model_(directory_, std::get<1>(GetParam())) {}

  // What sequence `i` may be asked for, a different thing each time.
  OutputSpec SomeOutput(std::mt19937& random) const {
    if (model_.info().classifies() && random() % 2 == 0) return kLogits;
    const std::vector<Pooling>& poolings = model_.info().poolings;
    return {TaskKind::kEmbed, poolings[random() % poolings.size()], true};
  }

  const std::filesystem::path directory_;
  const Golden golden_;
  const TestModel model_;
};

TEST_P(RandomCheckpointTest, EveryPoolingEqualsTransformers) {
  EXPECT_EQ(absl::c_linear_search(model_.info().poolings, Pooling::kPooler), golden_.Has("pooler"));
  for (Pooling pooling : model_.info().poolings) {
    const char* name = NameOf(pooling);
    const std::vector<Row> found =
        model_.Run(golden_.sequences, {TaskKind::kEmbed, pooling, false}, kTokenBudget);
    const double error = MaxError(found, golden_.Rows(name), 1);
    RecordError(name, error);
    EXPECT_LT(error, 1e-4) << name;
  }
}

TEST_P(RandomCheckpointTest, LogitsEqualTransformers) {
  ASSERT_EQ(model_.info().classifies(), golden_.Has("logits"));
  if (!golden_.Has("logits")) return;
  const std::vector<Row> wanted = golden_.Rows("logits");
  ASSERT_EQ(model_.info().labels.size(), wanted[0].size());
  const double error = MaxError(model_.Run(golden_.sequences, kLogits, kTokenBudget), wanted, 1);
  RecordError("logits", error);
  EXPECT_LT(error, 1e-4);
}

// Random companions in random order, wanted for different things.
TEST_P(RandomCheckpointTest, ASequenceAloneEqualsItselfInAnyBatch) {
  std::mt19937 random(1);
  double embedding_error = 0;
  double logit_error = 0;
  for (int round = 0; round < 30; ++round) {
    const size_t size = 1 + random() % 10;
    std::vector<TokenIds> sequences;
    std::vector<OutputSpec> outputs;
    for (size_t i = 0; i < size; ++i) {
      sequences.push_back(golden_.sequences[random() % golden_.sequences.size()]);
      outputs.push_back(SomeOutput(random));
    }
    const std::vector<Row> together = model_.RunBatch(sequences, outputs);
    const size_t chosen = random() % size;
    const std::vector<Row> alone =
        model_.RunBatch(std::span(sequences).subspan(chosen, 1),
                        std::span<const OutputSpec>(outputs).subspan(chosen, 1));
    const bool logits = outputs[chosen].task == TaskKind::kClassify;
    double& largest = logits ? logit_error : embedding_error;
    largest = std::max(largest, MaxError({together[chosen]}, alone, 1));
  }
  RecordError("embedding", embedding_error);
  RecordError("logit", logit_error);
  EXPECT_LE(embedding_error, 2e-6);
  EXPECT_LE(logit_error, 1e-5);
}

// The order of a batch permutes its results and changes nothing else.
TEST_P(RandomCheckpointTest, OrderDoesNotMatter) {
  std::mt19937 random(2);
  std::vector<size_t> order(golden_.sequences.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const OutputSpec output = {TaskKind::kEmbed, Pooling::kMean, true};
  const std::vector<Row> straight = model_.Run(golden_.sequences, output, kTokenBudget);
  for (int round = 0; round < 2; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    std::vector<TokenIds> sequences;
    std::vector<Row> wanted;
    for (size_t i : order) {
      sequences.push_back(golden_.sequences[i]);
      wanted.push_back(straight[i]);
    }
    EXPECT_LE(MaxError(model_.Run(sequences, output, kTokenBudget), wanted, 1), 2e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(All, RandomCheckpointTest,
                         ::testing::Combine(::testing::ValuesIn(CheckpointsIn("random")),
                                            ::testing::ValuesIn(Backends())),
                         CheckpointName);

}  // namespace
}  // namespace contextpool::engine
