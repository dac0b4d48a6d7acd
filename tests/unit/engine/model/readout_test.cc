#include "engine/model/readout.h"

#include <cmath>
#include <vector>

#include "engine/device/cpu_device.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Pointwise;

constexpr int64_t kWidth = 2;
constexpr OutputSpec kLogits = {.task = TaskKind::kClassify};

class ReadoutTest : public ::testing::Test {
 protected:
  ReadoutTest()
      : device_(*CreateCpuDevice({.threads = 1})), arena_(*Arena::Create(*device_, 1 << 16)) {}

  // Sequences of 3 and 2 tokens; row t holds t and 10 t.
  void Read(Readout& readout, const std::vector<OutputSpec>& outputs) {
    const std::vector<int32_t> cu_lengths = {0, 3, 5};
    std::vector<float> hidden = {0, 0, 1, 10, 2, 20, 3, 30, 4, 40};
    const TensorView view(hidden.data(), DType::kF32, {5, kWidth});
    arena_.Reset();
    const ReadoutSegments segments =
        readout.CopySegments({.cu_lengths = cu_lengths, .outputs = outputs}, arena_);
    embeddings_ = Values(readout.Embeddings(segments, view, arena_));
    if (segments.classified > 0) inputs_ = Values(readout.ClassifierInput(segments, view, arena_));
    EXPECT_TRUE(device_->Synchronize().ok());
    EXPECT_LE(arena_.used(), readout.WorkspaceBytes(2));
  }

  static std::vector<float> Values(const TensorView& view) {
    return {view.as<float>(), view.as<float>() + view.elements()};
  }

  std::unique_ptr<Device> device_;
  Arena arena_;
  std::vector<float> embeddings_;
  std::vector<float> inputs_;
};

TEST_F(ReadoutTest, EmbeddingsButTheFirstTokensLeaveOutWhatIsSkipped) {
  Readout readout({.hidden_size = kWidth, .skipped = 1}, 2, *device_);
  Read(readout, {{.pooling = Pooling::kCls}, {.pooling = Pooling::kCls}});
  EXPECT_THAT(embeddings_, ElementsAre(0, 0, 3, 30));
  Read(readout, {{.pooling = Pooling::kMean}, {.pooling = Pooling::kMean}});
  EXPECT_THAT(embeddings_, ElementsAre(1.5, 15, 4, 40));
  Read(readout, {{.pooling = Pooling::kMax}, {.pooling = Pooling::kLastToken}});
  EXPECT_THAT(embeddings_, ElementsAre(2, 20, 4, 40));
}

// Rows in any order, normalised or not, beside others that the pooler must leave alone.
TEST_F(ReadoutTest, ThePoolerMakesSomeRowsOfTheFirstToken) {
  const std::vector<float> weight = {0.1, 0, 0, -0.02};
  const std::vector<float> bias = {0.5, 0};
  const auto pooler = device_->PrepareLinear(weight, bias, kWidth);
  ASSERT_TRUE(pooler.ok()) << pooler.status();
  Readout readout({.hidden_size = kWidth, .skipped = 1, .pooler = pooler->get()}, 2, *device_);
  const float x = std::tanh(0.8f), y = std::tanh(-0.6f);
  Read(readout, {{.pooling = Pooling::kMean}, {.pooling = Pooling::kPooler}});
  EXPECT_THAT(embeddings_, Pointwise(FloatNear(1e-6), {1.5f, 15.f, x, y}));
  Read(readout, {{.pooling = Pooling::kPooler, .normalize = true}, {.pooling = Pooling::kCls}});
  EXPECT_THAT(embeddings_, Pointwise(FloatNear(1e-6), {1.f, 0.f, 3.f, 30.f}));
  Read(readout, {{.pooling = Pooling::kPooler}, {.pooling = Pooling::kPooler}});
  EXPECT_THAT(embeddings_, Pointwise(FloatNear(1e-6), {std::tanh(0.5f), 0.f, x, y}));
  Read(readout, {kLogits, {.pooling = Pooling::kPooler, .normalize = true}});
  const float length = std::hypot(x, y);
  EXPECT_THAT(embeddings_, Pointwise(FloatNear(1e-6), {x / length, y / length}));
  EXPECT_THAT(inputs_, ElementsAre(0, 0));
}

TEST_F(ReadoutTest, TheClassifiersPartsLieSideBySide) {
  Readout readout({.hidden_size = kWidth, .classifier = {{0, Pooling::kCls}, {1, Pooling::kMean}}},
                  2, *device_);
  Read(readout, {kLogits, kLogits});
  EXPECT_TRUE(embeddings_.empty());
  EXPECT_THAT(inputs_, ElementsAre(0, 0, 1.5, 15, 3, 30, 4, 40));
}

TEST_F(ReadoutTest, APartMayBeginAtAnyToken) {
  Readout readout({.hidden_size = kWidth, .classifier = {{1, Pooling::kCls}}}, 2, *device_);
  Read(readout, {kLogits, kLogits});
  EXPECT_THAT(inputs_, ElementsAre(1, 10, 4, 40));
}

TEST_F(ReadoutTest, TasksOfOneBatchAreReadApart) {
  Readout readout({.hidden_size = kWidth}, 2, *device_);
  Read(readout, {kLogits, {.pooling = Pooling::kMean}});
  EXPECT_THAT(embeddings_, ElementsAre(3.5, 35));
  EXPECT_THAT(inputs_, ElementsAre(0, 0));
  Read(readout, {{.pooling = Pooling::kLastToken, .normalize = true}, kLogits});
  EXPECT_NEAR(embeddings_[0], 0.0995037, 1e-6);
  EXPECT_THAT(inputs_, ElementsAre(3, 30));
}

}  // namespace
}  // namespace contextpool::engine
