#include "engine/device/gpu_device.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_gpu_runtime.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;

class GpuDeviceTest : public ::testing::Test {
 protected:
  GpuDeviceTest() {
    auto runtime = std::make_unique<testing::FakeGpuRuntime>();
    runtime_ = runtime.get();
    device_ = CreateGpuDevice(std::move(runtime), testing::kFakeKernels, DType::kBF16);
  }

  // Memory for any of the tests' tensors.
  TensorView Tensor(std::initializer_list<int64_t> shape) {
    return TensorView(memory_.data(), DType::kBF16, shape);
  }
  std::unique_ptr<LinearWeight> Linear(int64_t in, int64_t out) {
    const std::vector<float> weight(in * out, 0.5F), bias(out, 1.0F);
    return *device_->PrepareLinear(weight, bias, out);
  }
  std::vector<std::string> Queued() {
    EXPECT_EQ(device_->Synchronize(), absl::OkStatus());
    return runtime_->Diary();
  }

  std::vector<char> memory_ = std::vector<char>(1 << 16);
  testing::FakeGpuRuntime* runtime_;
  std::unique_ptr<Device> device_;
};

TEST_F(GpuDeviceTest, AProductTakesTheBiasTheResidualAndTheActivationsThatItCan) {
  const auto weight = Linear(8, 16);
  const TensorView x = Tensor({3, 8}), out = Tensor({3, 16});
  device_->Linear(x, *weight, kernels::Activation::kNone, out);
  device_->Linear(x, *weight, kernels::Activation::kGeluTanh, out);
  device_->LinearResidual(x, *weight, out, out);
  EXPECT_THAT(Queued(), ElementsAre("product 3 bias", "product 3 bias activation",
                                    "product 3 bias residual"));
}

TEST_F(GpuDeviceTest, OtherActivationsAreComputedAfterTheProduct) {
  const auto weight = Linear(8, 16);
  device_->Linear(Tensor({3, 8}), *weight, kernels::Activation::kGelu, Tensor({3, 16}));
  EXPECT_THAT(Queued(), ElementsAre("product 3", "activation"));
}

TEST_F(GpuDeviceTest, NoRowsAreNoProduct) {
  const auto weight = Linear(8, 16);
  device_->Linear(Tensor({0, 8}), *weight, kernels::Activation::kNone, Tensor({0, 16}));
  EXPECT_THAT(Queued(), ElementsAre());
}

TEST_F(GpuDeviceTest, ManyPatchesAreMadeAndMultipliedInParts) {
  const auto weight = Linear(2 * 2 * 3, 8);
  // 100 x 100 patches.
  const TensorView pixels(memory_.data(), DType::kU8, {1, 200, 200, 3});
  device_->PixelConvolution(pixels, {}, *weight, {.window = {.size = 2, .stride = 2}},
                            Tensor({8192, 12}), Tensor({1, 100, 100, 8}));
  EXPECT_THAT(Queued(), ElementsAre("patches 0 + 8192", "product 8192 bias", "patches 8192 + 1808",
                                    "product 1808 bias"));
}

// A graph of CUDA crashes if it copies to memory that was freed and allocated again.
TEST_F(GpuDeviceTest, NoGraphOutlivesMemoryThatIsFreed) {
  const auto weight = Linear(8, 16);
  const auto pass = [&] {
    device_->Linear(Tensor({3, 8}), *weight, kernels::Activation::kNone, Tensor({3, 16}));
    return Queued();
  };
  pass();
  pass();
  EXPECT_THAT(pass(), ElementsAre("graph"));
  { const DeviceBuffer buffer = *device_->Allocate(100); }
  EXPECT_THAT(pass(), ElementsAre("product 3 bias"));
}

TEST_F(GpuDeviceTest, WiderLayersAreRefusedByTheirNumber) {
  EXPECT_EQ(device_->CheckTransformer({.heads = 16, .head_size = 128}), absl::OkStatus());
  const absl::Status status = device_->CheckTransformer({.heads = 17, .head_size = 128});
  EXPECT_TRUE(absl::IsUnimplemented(status));
  EXPECT_THAT(status.message(), ::testing::HasSubstr("up to 2048, but this model's is 2176"));
}

TEST_F(GpuDeviceTest, HeadsOfAnotherSizeAreRefusedByTheirNumber) {
  EXPECT_EQ(device_->CheckTransformer({.heads = 12, .head_size = 64}), absl::OkStatus());
  const absl::Status status = device_->CheckTransformer({.heads = 4, .head_size = 12});
  EXPECT_TRUE(absl::IsUnimplemented(status));
  EXPECT_THAT(status.message(),
              ::testing::HasSubstr("32, 64, 128 columns, but this model's have 12"));
}

TEST_F(GpuDeviceTest, ConvolutionsAreRefused) {
  device_->MaxPool(Tensor({1}), {}, Tensor({1}));
  EXPECT_EQ(device_->Synchronize(),
            absl::UnimplementedError("device fake:0: MaxPool is computed on a CPU only"));
}

}  // namespace
}  // namespace contextpool::engine
