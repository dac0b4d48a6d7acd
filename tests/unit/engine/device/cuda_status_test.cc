#include "engine/device/cuda/cuda_status.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

absl::StatusCode CodeOf(cudaError_t error) {
  return CudaStatus("cuda:1", "cudaStreamSynchronize", error).code();
}

absl::StatusCode OpeningCodeOf(cudaError_t error) {
  return CudaOpeningStatus("cuda:1", "cudaSetDevice", error).code();
}

TEST(CudaStatusTest, SaysWhatWasTriedWhereAndWhatCudaSays) {
  EXPECT_EQ(CudaStatus("cuda:1", "cudaMalloc", cudaErrorMemoryAllocation),
            absl::ResourceExhaustedError("device cuda:1: cudaMalloc: out of memory"));
  EXPECT_EQ(CodeOf(cudaSuccess), absl::StatusCode::kOk);
}

// Every error of the CUDA runtime's documentation after which the process, the GPU or its context
// is gone.
constexpr cudaError_t kLost[] = {
    cudaErrorAssert,
    cudaErrorContextIsDestroyed,
    cudaErrorDeviceUninitialized,
    cudaErrorECCUncorrectable,
    cudaErrorExternalDevice,
    cudaErrorHardwareStackError,
    cudaErrorIllegalAddress,
    cudaErrorIllegalInstruction,
    cudaErrorIncompatibleDriverContext,
    cudaErrorInvalidAddressSpace,
    cudaErrorInvalidPc,
    cudaErrorLaunchFailure,
    cudaErrorLaunchTimeout,
    cudaErrorMisalignedAddress,
    cudaErrorMpsClientTerminated,
    cudaErrorMpsRpcFailure,
    cudaErrorNoDevice,
    cudaErrorNvlinkUncorrectable,
    cudaErrorUnknown,
#if CUDART_VERSION >= 12080
    cudaErrorTensorMemoryLeak,
#endif
#if CUDART_VERSION >= 13000
    cudaErrorContained,
#endif
};

bool IsLost(cudaError_t error) { return std::ranges::count(kLost, error) > 0; }

TEST(CudaStatusTest, AfterSomeErrorsTheGpuIsLost) {
  for (cudaError_t error : kLost) {
    EXPECT_EQ(CodeOf(error), absl::StatusCode::kDataLoss) << cudaGetErrorName(error);
  }
}

TEST(CudaStatusTest, AfterAllOthersItIsNot) {
  int others = 0;
  for (int code = 1; code <= cudaErrorUnknown; ++code) {
    const auto error = static_cast<cudaError_t>(code);
    if (IsLost(error) || error == cudaErrorMemoryAllocation) continue;
    EXPECT_EQ(CodeOf(error), absl::StatusCode::kInternal) << cudaGetErrorName(error);
    ++others;
  }
  EXPECT_GT(others, 900);
}

TEST(CudaStatusTest, AGpuThatCannotBeOpenedIsUnavailableInsteadOfLost) {
  for (cudaError_t error : {cudaErrorDevicesUnavailable, cudaErrorNoDevice}) {
    EXPECT_EQ(OpeningCodeOf(error), absl::StatusCode::kUnavailable) << cudaGetErrorName(error);
  }
  for (cudaError_t error :
       {cudaSuccess, cudaErrorMemoryAllocation, cudaErrorInvalidValue, cudaErrorECCUncorrectable}) {
    EXPECT_EQ(OpeningCodeOf(error), CodeOf(error)) << cudaGetErrorName(error);
  }
}

}  // namespace
}  // namespace contextpool::engine
