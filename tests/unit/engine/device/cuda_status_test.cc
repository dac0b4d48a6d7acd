#include "engine/device/cuda/cuda_status.h"

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

absl::StatusCode CodeOf(cudaError_t error) {
  return CudaStatus("cuda:1", "cudaStreamSynchronize", error).code();
}

TEST(CudaStatusTest, SaysWhatWasTriedWhereAndWhatCudaSays) {
  EXPECT_EQ(CudaStatus("cuda:1", "cudaMalloc", cudaErrorMemoryAllocation),
            absl::ResourceExhaustedError("device cuda:1: cudaMalloc: out of memory"));
  EXPECT_EQ(CodeOf(cudaSuccess), absl::StatusCode::kOk);
}

TEST(CudaStatusTest, AfterSomeErrorsTheGpuIsLost) {
  for (cudaError_t error : {cudaErrorIllegalAddress, cudaErrorMisalignedAddress,
                            cudaErrorLaunchFailure, cudaErrorECCUncorrectable, cudaErrorUnknown}) {
    EXPECT_EQ(CodeOf(error), absl::StatusCode::kDataLoss) << cudaGetErrorString(error);
  }
}

TEST(CudaStatusTest, AfterOthersItIsNot) {
  EXPECT_EQ(CodeOf(cudaErrorInvalidValue), absl::StatusCode::kInternal);
  EXPECT_EQ(CodeOf(cudaErrorLaunchOutOfResources), absl::StatusCode::kInternal);
  EXPECT_EQ(CodeOf(cudaErrorDevicesUnavailable), absl::StatusCode::kUnavailable);
  EXPECT_EQ(CodeOf(cudaErrorNoDevice), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace contextpool::engine
