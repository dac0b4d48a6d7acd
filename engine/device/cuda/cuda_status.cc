#include "engine/device/cuda/cuda_status.h"

#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

// Of which the CUDA runtime's documentation (cudaError_t) says that all further work of the process
// fails, and faults of the machine.
bool IsSticky(cudaError_t error) {
  switch (error) {
    case cudaErrorAssert:
#if CUDART_VERSION >= 13000
    case cudaErrorContained:
#endif
    case cudaErrorECCUncorrectable:
    case cudaErrorExternalDevice:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorMisalignedAddress:
    case cudaErrorMpsClientTerminated:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

}  // namespace

absl::Status CudaStatus(absl::string_view device, absl::string_view call, cudaError_t error) {
  if (error == cudaSuccess) return absl::OkStatus();
  const std::string text =
      absl::StrCat("device ", device, ": ", call, ": ", cudaGetErrorString(error));
  if (error == cudaErrorMemoryAllocation) return absl::ResourceExhaustedError(text);
  if (error == cudaErrorDevicesUnavailable || error == cudaErrorNoDevice) {
    return absl::UnavailableError(text);
  }
  return IsSticky(error) ? absl::DataLossError(text) : absl::InternalError(text);
}

}  // namespace contextpool::engine
