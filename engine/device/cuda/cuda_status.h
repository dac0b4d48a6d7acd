// Errors of the CUDA runtime as Status.
#pragma once

#include <cuda_runtime_api.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace contextpool::engine {

// `call`: what was tried, for example "cudaMalloc". Too little memory is RESOURCE_EXHAUSTED; an
// error after which the process can use the GPU no more is DATA_LOSS; all others are INTERNAL.
absl::Status CudaStatus(absl::string_view device, absl::string_view call, cudaError_t error);

// Of calls by which a GPU is found and opened: one that is not there, or that another process has
// to itself, is UNAVAILABLE. Once it is open these, too, say that it is lost.
absl::Status CudaOpeningStatus(absl::string_view device, absl::string_view call, cudaError_t error);

}  // namespace contextpool::engine
