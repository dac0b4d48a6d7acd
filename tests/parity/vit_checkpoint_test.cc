// Random-weight ViT, DeiT and DINOv2 checkpoints saved by transformers, and ViT with ContextPool,
// against PyTorch in double precision given the same pixels.

#include <cmath>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include "absl/algorithm/container.h"
#include "gtest/gtest.h"
#include "tests/parity/parity.h"

namespace contextpool::engine {
namespace {

constexpr OutputSpec kLogits = {.task = TaskKind::kClassify};
constexpr double kTolerance = 1e-4;

class VitCheckpointTest : public ::testing::TestWithParam<CheckpointAndBackend> {
 protected:
  VitCheckpointTest()
      : directory_(GoldenFolder() / "vit" / std::get<0>(GetParam())),
        golden_(directory_ / "expected.safetensors"),
        model_(directory_, std::get<1>(GetParam())) {}

  std::vector<Row> Run(const OutputSpec& output) const {
    const std::vector<OutputSpec> outputs(golden_.images.size(), output);
    return model_.Ask(golden_.images, outputs).rows;
  }

  const std::filesystem::path directory_;
  const Golden golden_;
  const TestModel model_;
};

TEST_P(VitCheckpointTest, EveryPoolingEqualsPyTorch) {
  EXPECT_EQ(absl::c_linear_search(model_.info().poolings, Pooling::kPooler), golden_.Has("pooler"));
  for (Pooling pooling : model_.info().poolings) {
    const char* name = NameOf(pooling);
    const double error = MaxError(Run({.pooling = pooling}), golden_.Rows(name), 1);
    RecordError(name, error);
    EXPECT_LT(error, kTolerance) << name;
  }
}

TEST_P(VitCheckpointTest, LogitsEqualPyTorch) {
  ASSERT_EQ(model_.info().classifies(), golden_.Has("logits"));
  if (!golden_.Has("logits")) return;
  const std::vector<Row> wanted = golden_.Rows("logits");
  ASSERT_EQ(model_.info().labels.size(), wanted[0].size());
  const double error = MaxError(Run(kLogits), wanted, 1);
  RecordError("logits", error);
  EXPECT_LT(error, kTolerance);
}

// Weights are compared as their logarithms.
TEST_P(VitCheckpointTest, WeightsAndSupportSizesEqualPyTorch) {
  const std::vector<OutputSpec> outputs(golden_.images.size());
  const std::vector<float> found = model_.Ask(golden_.images, outputs).context_pool;
  ASSERT_EQ(found.empty(), !golden_.Has("context_pool"));
  if (found.empty()) return;
  const std::vector<float> wanted = golden_.Values("context_pool");
  ASSERT_EQ(found.size(), wanted.size());
  const size_t tokens = golden_.images.size() * static_cast<size_t>(model_.info().max_tokens);
  ASSERT_EQ(found.size(), model_.info().context_pool_layers.size() * 2 * tokens);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const bool is_weight = i / tokens % 2 == 0;
    const float value = is_weight ? std::log2(wanted[i]) : wanted[i];
    if (std::isinf(value)) {
      EXPECT_EQ(found[i], value) << "token " << i % tokens << " is passed through";
    } else {
      EXPECT_NEAR(found[i], value, kTolerance) << "token " << i % tokens;
    }
  }
}

// Bit for bit, where a product's result does not depend on how many rows it has.
TEST_P(VitCheckpointTest, AnImageAloneEqualsItselfInABatch) {
  const CpuDeviceOptions& options = std::get<1>(GetParam()).options;
  const double allowed = options.gemm == CpuGemm::kLibTorch ? 1e-5 : 0;
  const std::vector<Pooling>& poolings = model_.info().poolings;
  std::vector<OutputSpec> outputs(golden_.images.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    outputs[i].pooling = poolings[i % poolings.size()];
    outputs[i].normalize = i % 3 == 0;
    if (model_.info().classifies() && i % 2 == 1) outputs[i] = kLogits;
  }
  const std::vector<Row> together = model_.Ask(golden_.images, outputs).rows;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::vector<Row> alone =
        model_.Ask(std::span(golden_.images).subspan(i, 1), std::span(outputs).subspan(i, 1)).rows;
    EXPECT_LE(MaxError({together[i]}, alone, 1), allowed) << "image " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, VitCheckpointTest,
                         ::testing::Combine(::testing::ValuesIn(CheckpointsIn("vit")),
                                            ::testing::ValuesIn(Backends())),
                         CheckpointName);

}  // namespace
}  // namespace contextpool::engine
