#include "engine/device/cpu_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace contextpool::engine {
namespace {

using testing::HasSubstr;

TensorView Matrix(std::vector<float>& values, int64_t rows, int64_t columns) {
  return TensorView(values.data(), DType::kF32, {rows, columns});
}

class CpuDeviceTest : public testing::TestWithParam<CpuGemm> {
 protected:
  CpuDeviceTest() : device_(*CreateCpuDevice({.threads = 2, .gemm = GetParam()})) {}
  std::unique_ptr<Device> device_;
};

INSTANTIATE_TEST_SUITE_P(Gemm, CpuDeviceTest, testing::Values(CpuGemm::kPacked, CpuGemm::kLibTorch),
                         [](const testing::TestParamInfo<CpuGemm>& info) {
                           return info.param == CpuGemm::kPacked ? "packed" : "libtorch";
                         });

TEST_P(CpuDeviceTest, LinearComputesXTimesWTransposedPlusBias) {
  const std::vector<float> weight = {1, 2, 3, 4, 5, 6};
  const std::vector<float> bias = {10, -100};
  const auto linear = device_->PrepareLinear(weight, bias, 2);
  ASSERT_TRUE(linear.ok()) << linear.status();
  EXPECT_EQ((*linear)->in_columns(), 3);
  EXPECT_GE((*linear)->bytes(), 8 * sizeof(float));
  std::vector<float> x = {1, 0, 0, 0, 1, 1, 2, 2, 2};
  std::vector<float> out(6);
  device_->Linear(Matrix(x, 3, 3), **linear, kernels::Activation::kRelu, Matrix(out, 3, 2));
  ASSERT_TRUE(device_->Synchronize().ok());
  EXPECT_THAT(out, testing::ElementsAre(11, 0, 15, 0, 22, 0));
}

TEST_P(CpuDeviceTest, LinearResidualAddsTheResidual) {
  const std::vector<float> weight = {1, 2, 3, 4};
  const std::vector<float> bias = {10, -100};
  const auto linear = device_->PrepareLinear(weight, bias, 2);
  ASSERT_TRUE(linear.ok()) << linear.status();
  std::vector<float> x = {1, 0, 0, 1}, residual = {0.5, 0.25, -1, -2}, out(4);
  device_->LinearResidual(Matrix(x, 2, 2), **linear, Matrix(residual, 2, 2), Matrix(out, 2, 2));
  ASSERT_TRUE(device_->Synchronize().ok());
  EXPECT_THAT(out, testing::ElementsAre(11.5, -96.75, 11, -98));
}

TEST_P(CpuDeviceTest, LayerNormNormalizesEachRowAlsoInPlace) {
  std::vector<float> x = {1, 5, -3, 3}, gamma = {2, 3}, beta = {10, 20}, out(4);
  const LayerNormWeights norm = {TensorView(gamma.data(), DType::kF32, {2}),
                                 TensorView(beta.data(), DType::kF32, {2}), 0.0f};
  device_->LayerNorm(Matrix(x, 2, 2), norm, Matrix(out, 2, 2));
  device_->LayerNorm(Matrix(x, 2, 2), norm, Matrix(x, 2, 2));
  ASSERT_TRUE(device_->Synchronize().ok());
  EXPECT_THAT(out, testing::ElementsAre(8, 23, 8, 23));
  EXPECT_EQ(x, out);
}

TEST_P(CpuDeviceTest, LinearResidualLayerNormNormalizesTheSum) {
  const std::vector<float> identity = {1, 0, 0, 1};
  const auto linear = device_->PrepareLinear(identity, {}, 2);
  ASSERT_TRUE(linear.ok()) << linear.status();
  std::vector<float> x = {1, 2}, residual = {3, 8}, gamma = {2, 3}, beta = {10, 20}, out(2);
  const LayerNormWeights norm = {TensorView(gamma.data(), DType::kF32, {2}),
                                 TensorView(beta.data(), DType::kF32, {2}), 0.0f};
  device_->LinearResidualLayerNorm(Matrix(x, 1, 2), **linear, Matrix(residual, 1, 2), norm,
                                   Matrix(out, 1, 2));
  ASSERT_TRUE(device_->Synchronize().ok());
  EXPECT_THAT(out, testing::ElementsAre(8, 23));
}

TEST_P(CpuDeviceTest, RefusesWeightsThatDoNotFit) {
  const std::vector<float> six(6), two(2);
  for (const int64_t out : {-1, 0, 4, 7}) {
    EXPECT_EQ(device_->PrepareLinear(six, {}, out).status().code(),
              absl::StatusCode::kInvalidArgument)
        << out;
  }
  EXPECT_EQ(device_->PrepareLinear(six, two, 3).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(CpuDeviceTest, TheFirstFailureSticksUntilSynchronize) {
  const auto linear = device_->PrepareLinear(std::vector<float>(6), {}, 2);
  std::vector<float> x(6), out(4, 7.0f), segments_out(3);
  TensorView half = Matrix(x, 2, 3);
  half.dtype = DType::kF16;
  TensorView bad_out = Matrix(segments_out, 1, 3);
  device_->Pool(half, nullptr, bad_out);
  // Skipped, because something failed before.
  device_->Linear(Matrix(x, 2, 3), **linear, kernels::Activation::kNone, Matrix(out, 2, 2));
  EXPECT_EQ(out[0], 7.0f);
  const absl::Status status = device_->Synchronize();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Pool: bad dtype"));
  EXPECT_TRUE(device_->Synchronize().ok());
}

TEST_P(CpuDeviceTest, UploadCopiesAtOnceAndLeavesTheStreamsFailureAlone) {
  std::vector<float> x(6), out(3);
  TensorView half = Matrix(x, 2, 3);
  half.dtype = DType::kF16;
  device_->Pool(half, nullptr, Matrix(out, 1, 3));
  const std::vector<float> host = {1, 2, 3};
  const DeviceBuffer buffer = *device_->Allocate(3 * sizeof(float));
  ASSERT_TRUE(device_->Upload(buffer.data(), host.data(), 3 * sizeof(float)).ok());
  const float* copy = static_cast<const float*>(buffer.data());
  EXPECT_EQ(std::vector<float>(copy, copy + 3), host);
  EXPECT_EQ(device_->Synchronize().code(), absl::StatusCode::kInternal);
}

// A race with the stream would be a report under ThreadSanitizer.
TEST_P(CpuDeviceTest, WeightsArriveFromAnotherThreadWhileTheStreamComputes) {
  const std::vector<float> weight = {1, 2, 3, 4, 5, 6};
  std::thread loader([&] {
    for (int i = 0; i < 100; ++i) {
      const DeviceBuffer buffer = *device_->Allocate(6 * sizeof(float));
      EXPECT_TRUE(device_->Upload(buffer.data(), weight.data(), 6 * sizeof(float)).ok());
      EXPECT_TRUE(device_->PrepareLinear(weight, {}, 2).ok());
    }
  });
  const auto linear = device_->PrepareLinear(weight, {}, 2);
  std::vector<float> x = {1, 0, 0}, out(2);
  for (int i = 0; i < 100; ++i) {
    device_->Linear(Matrix(x, 1, 3), **linear, kernels::Activation::kNone, Matrix(out, 1, 2));
    EXPECT_TRUE(device_->Synchronize().ok());
  }
  loader.join();
  EXPECT_THAT(out, testing::ElementsAre(1, 4));
}

TEST(CreateCpuDeviceTest, RefusesImpossibleOptions) {
  EXPECT_EQ(CreateCpuDevice({.threads = -1}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CreateCpuDeviceTest, WorksWithoutVectorInstructions) {
  const auto device = CreateCpuDevice({.threads = 1, .isa = kernels::Isa::kReference});
  ASSERT_TRUE(device.ok()) << device.status();
  const auto linear = (*device)->PrepareLinear(std::vector<float>{3}, {}, 1);
  std::vector<float> x = {2}, out(1);
  (*device)->Linear(Matrix(x, 1, 1), **linear, kernels::Activation::kNone, Matrix(out, 1, 1));
  EXPECT_EQ(out[0], 6.0f);
}

TEST(CreateCpuDeviceTest, RefusesMoreMemoryThanThereIs) {
  const auto device = CreateCpuDevice({.threads = 1});
  for (size_t bytes : {SIZE_MAX, SIZE_MAX / 2}) {
    EXPECT_EQ((*device)->Allocate(bytes).status().code(), absl::StatusCode::kResourceExhausted);
  }
}

}  // namespace
}  // namespace contextpool::engine
