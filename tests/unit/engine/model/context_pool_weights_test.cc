#include "engine/model/context_pool_weights.h"

#include <numeric>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_device.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kColumns = 3;
constexpr int64_t kBottleneck = 2;

class PlainWeight final : public LinearWeight {
 public:
  PlainWeight(std::span<const float> weight, std::span<const float> bias, int64_t out)
      : LinearWeight(out, static_cast<int64_t>(weight.size()) / out),
        weight_(weight.begin(), weight.end()),
        bias_(bias.begin(), bias.end()) {}

  size_t bytes() const override { return 1000; }
  float at(int64_t row, int64_t column) const { return weight_[row * in_columns() + column]; }
  const std::vector<float>& bias() const { return bias_; }

 private:
  std::vector<float> weight_, bias_;
};

class PlainDevice final : public testing::FakeDevice {
 public:
  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(std::span<const float> weight,
                                                              std::span<const float> bias,
                                                              int64_t out) override {
    return std::make_unique<PlainWeight>(weight, bias, out);
  }
};

// 0, 1, 2, ...
TestTensor Counting(std::vector<int64_t> shape) {
  std::vector<float> values(
      std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()));
  std::iota(values.begin(), values.end(), 0.0f);
  return F32Tensor(std::move(shape), values);
}

std::map<std::string, TestTensor> Tensors(const std::vector<int64_t>& kernel) {
  const auto shape = [&](int64_t out, int64_t in) {
    std::vector<int64_t> shape = {out, in};
    shape.insert(shape.end(), kernel.begin(), kernel.end());
    return shape;
  };
  return {{"at.conv1.weight", Counting(shape(kBottleneck, kColumns))},
          {"at.conv1.bias", F32Tensor({kBottleneck}, {7, 8})},
          {"at.conv2.weight", Counting(shape(2, kBottleneck))},
          {"at.conv2.bias", F32Tensor({2}, {5, 6})},
          {"at.gamma", F32Tensor({1}, {-0.5f})}};
}

class ContextPoolWeightsTest : public ::testing::Test {
 protected:
  // The loader's status after it.
  absl::Status Load(const std::map<std::string, TestTensor>& tensors,
                    const ContextPoolOptions& options) {
    directory_.Write("model.safetensors", absl::string_view(SafetensorsBytes(tensors)));
    const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(directory_.path());
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    WeightLoader loader(*checkpoint, device_);
    weights_ = LoadContextPool(loader, "at.", kColumns, options);
    memory_ = loader.TakeMemory();
    return loader.status();
  }

  void ExpectTapsFirst(int64_t taps) {
    const auto& conv1 = static_cast<const PlainWeight&>(*weights_.conv1);
    ASSERT_EQ(conv1.out_columns(), taps * kBottleneck);
    const auto* conv2 = weights_.conv2_weight.as<float>();
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t out = 0; out < kBottleneck; ++out) {
        const int64_t row = tap * kBottleneck + out;
        for (int64_t in = 0; in < kColumns; ++in) {
          EXPECT_EQ(conv1.at(row, in), (out * kColumns + in) * taps + tap);
        }
        EXPECT_EQ(conv1.bias()[row], tap == taps / 2 ? 7 + out : 0) << "tap " << tap;
        for (int64_t number = 0; number < 2; ++number) {
          EXPECT_EQ(conv2[(tap * 2 + number) * kBottleneck + out],
                    (number * kBottleneck + out) * taps + tap);
        }
      }
    }
    EXPECT_EQ(weights_.conv2_bias.as<float>()[0], 5);
    EXPECT_EQ(weights_.conv2_bias.as<float>()[1], 6);
    EXPECT_EQ(memory_.bytes, 1000 + (taps * 2 * kBottleneck + 2) * 4);
  }

  TempDirectory directory_;
  PlainDevice device_;
  WeightMemory memory_;
  ContextPoolWeights weights_;
};

TEST_F(ContextPoolWeightsTest, TapsComeFirst) {
  ASSERT_TRUE(Load(Tensors({5}), {.kernel_size = 5, .bottleneck = kBottleneck}).ok());
  ExpectTapsFirst(5);
  EXPECT_EQ(weights_.gate, 0) << "there is a gamma, but no gate";
}

TEST_F(ContextPoolWeightsTest, OnAGridTapsAreRowByRow) {
  ASSERT_TRUE(
      Load(Tensors({3, 3}), {.kernel_size = 3, .bottleneck = kBottleneck, .grid_width = 9}).ok());
  ExpectTapsFirst(9);
}

TEST_F(ContextPoolWeightsTest, WithNothingLearnedGammaIsAllThatIsRead) {
  const ContextPoolOptions blur = {.weight = kernels::PoolWeight::kOne,
                                   .size = kernels::SupportSize::kFixed,
                                   .residual = kernels::PoolResidual::kGate};
  ASSERT_TRUE(Load({{"at.gamma", F32Tensor({1}, {-0.5f})}}, blur).ok());
  EXPECT_EQ(weights_.conv1, nullptr);
  EXPECT_EQ(weights_.conv2_weight.data, nullptr);
  EXPECT_EQ(weights_.gate, -0.5f);
}

TEST_F(ContextPoolWeightsTest, MissingTensorsAndOtherShapesAreNamed) {
  const ContextPoolOptions options = {.residual = kernels::PoolResidual::kGate,
                                      .kernel_size = 3,
                                      .bottleneck = kBottleneck,
                                      .grid_width = 4};
  for (const auto& [name, tensor] : Tensors({3, 3})) {
    std::map<std::string, TestTensor> tensors = Tensors({3, 3});
    tensors.erase(name);
    EXPECT_THAT(Load(tensors, options).message(), AllOf(HasSubstr(name), HasSubstr("missing")));
    tensors[name] = Counting({4, 1});
    EXPECT_THAT(Load(tensors, options).message(), AllOf(HasSubstr(name), HasSubstr("shape")));
  }
  EXPECT_THAT(Load(Tensors({3}), options).message(),
              AllOf(HasSubstr("at.conv1.weight"), HasSubstr("[2, 3, 3, 3]")));
}

}  // namespace
}  // namespace contextpool::engine
