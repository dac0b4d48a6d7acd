// Whole models in 16-bit floats through the CUDA kernels: as near to double precision as PyTorch's
// own 16-bit arithmetic, and no request changed by another.

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/parity/parity.h"
#include "tests/parity/test_gpu.h"

namespace contextpool::engine {
namespace {

struct Output {
  const char* name;
  OutputSpec spec;
};
constexpr Output kOutputs[] = {{"cls", {.pooling = Pooling::kCls}},
                               {"mean", {.pooling = Pooling::kMean}},
                               {"logits", {.task = TaskKind::kClassify}}};

double MaxDifference(const std::vector<Row>& found, const std::vector<Row>& wanted) {
  double largest = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    for (size_t c = 0; c < wanted[i].size(); ++c) {
      const double difference = std::abs(static_cast<double>(found.at(i).at(c)) - wanted[i][c]);
      largest = std::isnan(difference) ? std::numeric_limits<double>::infinity()
                                       : std::max(largest, difference);
    }
  }
  return largest;
}

class HalfModelsTest : public ::testing::TestWithParam<std::tuple<std::string, DType>> {
 protected:
  HalfModelsTest()
      : directory_(GoldenFolder() / "half" / std::get<0>(GetParam())),
        golden_(directory_ / "expected.safetensors"),
        model_(directory_, CreateTestGpu(std::get<1>(GetParam()))) {}

  std::string suffix() const { return std::get<1>(GetParam()) == DType::kBF16 ? "_bf16" : "_f16"; }
  size_t inputs() const { return golden_.images.size() + golden_.sequences.size(); }

  std::vector<Row> Ask(size_t first, size_t count, const std::vector<OutputSpec>& outputs,
                       Arena* workspace = nullptr) const {
    const auto part = [&](const auto& all) { return std::span(all).subspan(first, count); };
    return golden_.images.empty() ? model_.Ask(part(golden_.sequences), outputs, workspace).rows
                                  : model_.Ask(part(golden_.images), outputs, workspace).rows;
  }

  const std::filesystem::path directory_;
  const Golden golden_;
  const TestModel model_;
};

TEST_P(HalfModelsTest, IsAsExactAsPyTorchInTheSameType) {
  EXPECT_EQ(model_.info().dtype, std::get<1>(GetParam()));
  for (const auto& [name, spec] : kOutputs) {
    const std::vector<Row> wanted = golden_.Rows(name);
    const double allowed = 2 * MaxDifference(golden_.Rows(name + suffix()), wanted);
    const double error =
        MaxDifference(Ask(0, inputs(), std::vector<OutputSpec>(inputs(), spec)), wanted);
    RecordError(name, error);
    ASSERT_TRUE(std::isfinite(allowed));
    EXPECT_LE(error, allowed) << name;
    EXPECT_GT(error, 0) << name << " cannot be that exact";
  }
}

// Whatever is asked of the others. Our kernels give the same bits; where products come from a
// library that chooses by the number of rows, they differ by some roundings.
TEST_P(HalfModelsTest, AnInputAloneEqualsItselfInABatch) {
  std::vector<OutputSpec> outputs;
  for (size_t i = 0; i < inputs(); ++i) outputs.push_back(kOutputs[i % 3].spec);
  const std::vector<Row> together = Ask(0, inputs(), outputs);
  for (size_t i = 0; i < inputs(); ++i) {
    const Row alone = Ask(i, 1, {outputs[i]}).front();
    if (kTestGpuIsExact) {
      EXPECT_EQ(alone, together[i]) << "input " << i;
      continue;
    }
    const char* name = kOutputs[i % 3].name;
    EXPECT_LE(MaxDifference({alone}, {together[i]}),
              2 * MaxDifference(golden_.Rows(name + suffix()), golden_.Rows(name)))
        << "input " << i;
  }
}

// Queued, recorded and replayed, where there are graphs.
TEST_P(HalfModelsTest, ABatchThatComesAgainGivesTheSame) {
  const std::vector<OutputSpec> outputs(1, kOutputs[1].spec);
  Arena workspace = model_.Workspace({.tokens = 512, .sequences = 1});
  for (size_t i = 0; i < inputs(); ++i) {
    const std::vector<Row> first = Ask(i, 1, outputs, &workspace);
    for (int again = 0; again < 3; ++again) {
      EXPECT_EQ(Ask(i, 1, outputs, &workspace), first) << "input " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, HalfModelsTest,
                         ::testing::Combine(::testing::ValuesIn(CheckpointsIn("half")),
                                            ::testing::Values(DType::kBF16, DType::kF16)),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" +
                                  kernels::Name(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace contextpool::engine
