#include "engine/device/cuda/cuda_gpu.h"

#include <cuda_runtime_api.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/device/cuda/cuda_runtime.h"
#include "engine/device/cuda/cuda_status.h"
#include "engine/device/gpu_device.h"
#include "engine/device/gpu_kernels.h"

namespace contextpool::engine {
namespace {

// The primitives of kernels/cuda need it.
constexpr int kOldestMajor = 8;

constexpr GpuKernels kKernels = {
    .attention = kernels::cuda::Attention,
    .bias_activation = kernels::cuda::BiasActivation,
    .context_pool = kernels::cuda::ContextPool,
    .context_pool_support = kernels::cuda::ContextPoolSupport,
    .embedding = kernels::cuda::Embedding,
    .im2col = kernels::cuda::Im2Col,
    .layer_norm = kernels::cuda::LayerNorm,
    .patch_tokens = kernels::cuda::PatchTokens,
    .pool = kernels::cuda::Pool,
};

absl::Status CheckGpu(int index) {
  const absl::StatusOr<int> count = CudaGpuCount();
  if (!count.ok()) return count.status();
  if (index < 0 || index >= *count) {
    return absl::UnavailableError(
        absl::StrCat("there is no GPU cuda:", index, "; this process can use cuda:0",
                     *count > 1 ? absl::StrCat(" to cuda:", *count - 1) : ""));
  }
  int major = 0;
  absl::Status status =
      CudaOpeningStatus(absl::StrCat("cuda:", index), "cudaDeviceGetAttribute",
                        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index));
  if (!status.ok()) return status;
  if (major < kOldestMajor) {
    return absl::UnavailableError(absl::StrCat("the GPU cuda:", index, " has compute capability ",
                                               major, ".x, and ", kOldestMajor,
                                               ".0 or more is needed"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> CudaGpuCount() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  int driver = 0;
  if (error == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess &&
      driver == 0) {
    return absl::UnavailableError("no GPU can be used: there is no NVIDIA driver");
  }
  if (error != cudaSuccess) {
    return absl::UnavailableError(absl::StrCat("no GPU can be used: ", cudaGetErrorString(error)));
  }
  if (count == 0) return absl::UnavailableError("no GPU can be used: there is none");
  return count;
}

absl::StatusOr<std::unique_ptr<Device>> CreateCudaGpu(int index, DType dtype) {
  if (absl::Status status = CheckGpu(index); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<GpuRuntime>> runtime = CreateCudaRuntime(index);
  if (!runtime.ok()) return runtime.status();
  return CreateGpuDevice(*std::move(runtime), kKernels, dtype);
}

}  // namespace contextpool::engine
