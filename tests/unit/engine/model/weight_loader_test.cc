#include "engine/model/weight_loader.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/device/cpu_device.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class WeightLoaderTest : public ::testing::Test {
 protected:
  WeightLoaderTest() : device_(*CreateCpuDevice({.threads = 1})) {
    directory_.Write(
        "model.safetensors",
        absl::string_view(SafetensorsBytes({{"a.weight", F32Tensor({1, 2}, {1, 2})},
                                            {"a.bias", F32Tensor({1}, {10})},
                                            {"b.weight", F32Tensor({1, 2}, {3, 4})},
                                            {"b.bias", F32Tensor({1}, {20})},
                                            {"c.weight", F32Tensor({1, 2}, {3, 4})},
                                            {"scale", F32Tensor({1}, {-2})},
                                            {"table", F32Tensor({2, 2}, {5, 6, 7, 8})}})));
    checkpoint_ = *Checkpoint::Open(directory_.path());
    loader_.emplace(*checkpoint_, *device_);
  }

  // Of the layer for the input (1, 1).
  std::vector<float> Outputs(const LinearTensors& tensors) {
    const auto linear = loader_->Linear(tensors);
    if (linear == nullptr) return {};
    std::vector<float> x = {1, 1};
    std::vector<float> out(linear->out_columns());
    device_->Linear(TensorView(x.data(), DType::kF32, {1, 2}), *linear, kernels::Activation::kNone,
                    TensorView(out.data(), DType::kF32, {1, linear->out_columns()}));
    EXPECT_TRUE(device_->Synchronize().ok());
    return out;
  }

  TempDirectory directory_;
  std::unique_ptr<Device> device_;
  std::optional<Checkpoint> checkpoint_;
  std::optional<WeightLoader> loader_;
};

TEST_F(WeightLoaderTest, LayersThatBelongTogetherBecomeOne) {
  EXPECT_THAT(Outputs({.names = {"a", "b"}, .out_columns = 1, .in_columns = 2}),
              ElementsAre(13, 27));
  EXPECT_THAT(Outputs({.names = {"b"}, .out_columns = 1, .in_columns = 2}), ElementsAre(27));
}

TEST_F(WeightLoaderTest, ALayerMayHaveNoBias) {
  EXPECT_THAT(Outputs({.names = {"a", "b"}, .out_columns = 1, .in_columns = 2, .has_bias = false}),
              ElementsAre(3, 7));
}

TEST_F(WeightLoaderTest, TellsWhetherThereIsALayerOfThatSize) {
  EXPECT_TRUE(loader_->HasLinear("a", 1, 2));
  EXPECT_FALSE(loader_->HasLinear("a", 2, 1));
  EXPECT_FALSE(loader_->HasLinear("c", 1, 2)) << "it has a weight alone";
  EXPECT_FALSE(loader_->HasLinear("none", 1, 2));
  EXPECT_TRUE(loader_->ok());
}

// As half precision numbers, which hold these values exactly.
TEST_F(WeightLoaderTest, UploadsInTheTypeThatIsAskedFor) {
  const std::vector<float> values = {1, -2.5};
  const TensorView half = loader_->Upload("half", values, {2}, DType::kF16);
  EXPECT_EQ(half.dtype, DType::kF16);
  EXPECT_THAT(std::span(half.as<uint16_t>(), 2), ElementsAre(0x3c00, 0xc100));
  const TensorView brain = loader_->Upload("brain", values, {2}, DType::kBF16);
  EXPECT_THAT(std::span(brain.as<uint16_t>(), 2), ElementsAre(0x3f80, 0xc020));
  EXPECT_EQ(loader_->TakeMemory().bytes, 8);
}

TEST_F(WeightLoaderTest, AScaleMultipliesEveryOutputBiasIncluded) {
  EXPECT_THAT(Outputs({.names = {"a", "b"}, .out_columns = 1, .in_columns = 2, .scale = "scale"}),
              ElementsAre(-26, -54));
}

TEST_F(WeightLoaderTest, ATableKeepsItsFirstRows) {
  const TensorView table = loader_->Table("table", 2, 2, 1);
  ASSERT_TRUE(loader_->ok()) << loader_->status();
  EXPECT_EQ(table.shape[0], 1);
  EXPECT_EQ(table.as<float>()[0], 5);
  EXPECT_EQ(table.as<float>()[1], 6);
}

TEST_F(WeightLoaderTest, CountsTheMemoryOfAllThatItLoaded) {
  loader_->Table("table", 2, 2, 2);
  EXPECT_EQ(loader_->TakeMemory().bytes, 16);
  const auto linear = loader_->Linear({.names = {"a"}, .out_columns = 1, .in_columns = 2});
  EXPECT_EQ(loader_->TakeMemory().bytes, static_cast<int64_t>(linear->bytes()));
}

TEST_F(WeightLoaderTest, StopsAtTheFirstErrorAndNamesItsTensor) {
  EXPECT_TRUE(loader_->Read("table", {2, 3}).empty());
  EXPECT_EQ(loader_->Linear({.names = {"missing"}, .out_columns = 1, .in_columns = 2}), nullptr);
  EXPECT_EQ(loader_->Linear({.names = {"a"}, .out_columns = 1, .in_columns = 2}), nullptr);
  EXPECT_EQ(loader_->Vector("a.bias", 1).data, nullptr);
  EXPECT_TRUE(loader_->Read("table", {2, 2}).empty());
  EXPECT_THAT(loader_->status().message(), HasSubstr("\"table\" must have the shape [2, 3]"));
  EXPECT_EQ(loader_->TakeMemory().bytes, 0);
}

TEST_F(WeightLoaderTest, SizesThatTheTensorsDoNotHaveAllocateNothing) {
  EXPECT_EQ(loader_->Linear({.names = {"a"}, .out_columns = 1 << 20, .in_columns = 1 << 20}),
            nullptr);
  EXPECT_THAT(loader_->status().message(), HasSubstr("\"a.weight\""));
}

}  // namespace
}  // namespace contextpool::engine
