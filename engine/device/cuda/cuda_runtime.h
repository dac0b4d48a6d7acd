// The CUDA runtime and cuBLASLt as a GpuRuntime.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/device/gpu_runtime.h"

namespace contextpool::engine {

// Of GPU `index`, which there must be. UNAVAILABLE if there is no cuBLASLt.
absl::StatusOr<std::unique_ptr<GpuRuntime>> CreateCudaRuntime(int index);

}  // namespace contextpool::engine
