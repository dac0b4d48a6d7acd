// NVIDIA GPUs by the CUDA runtime and cuBLASLt. Every build has these functions; one without CUDA
// finds no GPU.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/base/dtype.h"
#include "engine/device/device.h"

namespace contextpool::engine {

// GPUs that this process can use, 1 at least. UNIMPLEMENTED: this program was built without CUDA;
// UNAVAILABLE: there is no driver or no GPU.
absl::StatusOr<int> CudaGpuCount();

// GPU `index` as "cuda:<index>", computing in `dtype`, kBF16 or kF16. The errors of CudaGpuCount;
// UNAVAILABLE, too: there is no such GPU, it is older than compute capability 8.0, another process
// has it to itself, or there is no cuBLASLt. RESOURCE_EXHAUSTED: its memory is full. INTERNAL or
// DATA_LOSS: it does not work.
absl::StatusOr<std::unique_ptr<Device>> CreateCudaGpu(int index, DType dtype);

}  // namespace contextpool::engine
