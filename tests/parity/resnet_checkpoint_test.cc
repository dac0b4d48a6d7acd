// Random-weight ResNets saved by transformers, against transformers in double precision; with
// ContextPool against the module of training/.

#include <cmath>
#include <filesystem>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/parity/parity.h"

namespace contextpool::engine {
namespace {

constexpr OutputSpec kEmbedding = {TaskKind::kEmbed, Pooling::kMean, false};
constexpr OutputSpec kNormalized = {TaskKind::kEmbed, Pooling::kMean, true};
constexpr OutputSpec kLogits = {TaskKind::kClassify, Pooling::kMean, false};

class ResNetParityTest : public ::testing::TestWithParam<CheckpointAndBackend> {
 protected:
  ResNetParityTest()
      : directory_(GoldenFolder() / "resnet" / std::get<0>(GetParam())),
        golden_(directory_ / "expected.safetensors"),
        model_(directory_, std::get<1>(GetParam())) {}

  std::vector<Row> All(const OutputSpec& output) const {
    const std::vector<OutputSpec> outputs(golden_.images.size(), output);
    return model_.Ask(golden_.images, outputs).rows;
  }

  // What image `i` may be asked for.
  OutputSpec SomeOutput(std::mt19937& random) const {
    return model_.info().classifies() && random() % 2 == 0 ? kLogits : kNormalized;
  }

  const std::filesystem::path directory_;
  const Golden golden_;
  const TestModel model_;
};

TEST_P(ResNetParityTest, EmbeddingsEqualTransformers) {
  const double error = MaxError(All(kEmbedding), golden_.Rows("embeddings"), 1);
  RecordError("embedding", error);
  EXPECT_LT(error, 1e-4);
}

TEST_P(ResNetParityTest, LogitsEqualTransformers) {
  ASSERT_EQ(model_.info().classifies(), golden_.Has("logits"));
  if (!golden_.Has("logits")) return;
  const std::vector<Row> wanted = golden_.Rows("logits");
  ASSERT_EQ(model_.info().labels.size(), wanted[0].size());
  const double error = MaxError(All(kLogits), wanted, 1);
  RecordError("logits", error);
  EXPECT_LT(error, 1e-4);
}

TEST_P(ResNetParityTest, TellsWhatContextPoolChoseInPlaceOfTheAverage) {
  const std::vector<OutputSpec> outputs(golden_.images.size(), kEmbedding);
  Row found = model_.Ask(golden_.images, outputs).context_pool;
  ASSERT_EQ(!found.empty(), golden_.Has("context_pool"));
  ASSERT_EQ(model_.info().context_pool_layers.size(), found.empty() ? 0 : 1);
  if (found.empty()) return;
  // Logarithms of the weights, then sizes.
  for (size_t i = 0; i < found.size() / 2; ++i) found[i] = std::exp2(found[i]);
  EXPECT_LT(MaxError({found}, {golden_.Values("context_pool")}, 1), 1e-4);
}

// Random companions in random order, wanted for different things.
TEST_P(ResNetParityTest, AnImageAloneEqualsItselfInAnyBatch) {
  // LibTorch's products choose by the number of rows.
  const double limit = std::get<1>(GetParam()).options.gemm == CpuGemm::kLibTorch ? 5e-5 : 0;
  std::mt19937 random(1);
  for (int round = 0; round < 10; ++round) {
    const size_t size = 1 + random() % 10;
    std::vector<Pixels> images;
    std::vector<OutputSpec> outputs;
    for (size_t i = 0; i < size; ++i) {
      images.push_back(golden_.images[random() % golden_.images.size()]);
      outputs.push_back(SomeOutput(random));
    }
    const std::vector<Row> together = model_.Ask(images, outputs).rows;
    const size_t chosen = random() % size;
    const std::vector<Row> alone = model_
                                       .Ask(std::span<const Pixels>(images).subspan(chosen, 1),
                                            std::span<const OutputSpec>(outputs).subspan(chosen, 1))
                                       .rows;
    EXPECT_LE(MaxError({together[chosen]}, alone, 1), limit) << size;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ResNetParityTest,
                         ::testing::Combine(::testing::ValuesIn(CheckpointsIn("resnet")),
                                            ::testing::ValuesIn(Backends())),
                         CheckpointName);

}  // namespace
}  // namespace contextpool::engine
