#include "engine/device/cuda/cuda_status.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

// Of which the CUDA runtime's documentation (cudaError_t) says that all further work of the process
// fails, or that the GPU or its context is gone; and faults of the machine.
bool IsLost(cudaError_t error) {
  switch (error) {
    case cudaErrorAssert:
#if CUDART_VERSION >= 13000
    case cudaErrorContained:
#endif
    case cudaErrorContextIsDestroyed:
    case cudaErrorDeviceUninitialized:
    case cudaErrorECCUncorrectable:
    case cudaErrorExternalDevice:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorIncompatibleDriverContext:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorMisalignedAddress:
    case cudaErrorMpsClientTerminated:
    case cudaErrorMpsRpcFailure:
    case cudaErrorNoDevice:
    case cudaErrorNvlinkUncorrectable:
#if CUDART_VERSION >= 12080
    case cudaErrorTensorMemoryLeak:
#endif
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

std::string TextOf(absl::string_view device, absl::string_view call, cudaError_t error) {
  return absl::StrCat("device ", device, ": ", call, ": ", cudaGetErrorString(error));
}

}  // namespace

absl::Status CudaStatus(absl::string_view device, absl::string_view call, cudaError_t error) {
  if (error == cudaSuccess) return absl::OkStatus();
  const std::string text = TextOf(device, call, error);
  if (error == cudaErrorMemoryAllocation) return absl::ResourceExhaustedError(text);
  return IsLost(error) ? absl::DataLossError(text) : absl::InternalError(text);
}

absl::Status CudaOpeningStatus(absl::string_view device, absl::string_view call,
                               cudaError_t error) {
  if (error == cudaErrorDevicesUnavailable || error == cudaErrorNoDevice) {
    return absl::UnavailableError(TextOf(device, call, error));
  }
  return CudaStatus(device, call, error);
}

}  // namespace contextpool::engine
