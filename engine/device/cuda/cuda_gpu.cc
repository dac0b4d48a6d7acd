#include "engine/device/cuda/cuda_gpu.h"

#include <cuda_runtime_api.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/device_name.h"
#include "engine/device/cuda/cuda_runtime.h"
#include "engine/device/cuda/cuda_status.h"
#include "engine/device/gpu_device.h"
#include "engine/device/gpu_kernels.h"

namespace contextpool::engine {
namespace {

// The primitives of kernels/cuda need it.
constexpr int kOldestMajor = 8;
constexpr absl::string_view kLook =
    "; nvidia-smi shows what the driver sees, of which CUDA_VISIBLE_DEVICES may hide some";

// Of a version as CUDA numbers them: 13000 is 13.0.
std::string VersionName(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

absl::Status NoGpu(absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("no GPU can be used: ", why));
}

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
        absl::StrCat("there is no GPU ", GpuName(index), "; this process can use ", GpuName(0),
                     *count > 1 ? absl::StrCat(" to ", GpuName(*count - 1)) : "", kLook));
  }
  int major = 0;
  absl::Status status =
      CudaOpeningStatus(GpuName(index), "cudaDeviceGetAttribute",
                        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index));
  if (!status.ok()) return status;
  if (major < kOldestMajor) {
    return absl::UnavailableError(absl::StrCat("the GPU ", GpuName(index),
                                               " has compute capability ", major, ".x, and ",
                                               kOldestMajor, ".0 or more is needed"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> CudaGpuCount() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
      return NoGpu(
          "there is no NVIDIA driver; install one, or give the container its GPUs, so"
          " that nvidia-smi works");
    }
    return NoGpu(absl::StrCat("the driver is for CUDA up to ", VersionName(driver),
                              ", and this program needs one for ", VersionName(CUDART_VERSION),
                              "; update the driver (nvidia-smi shows its version)"));
  }
  if (error != cudaSuccess) return NoGpu(absl::StrCat(cudaGetErrorString(error), kLook));
  if (count == 0) return NoGpu(absl::StrCat("there is none", kLook));
  return count;
}

absl::StatusOr<std::unique_ptr<Device>> CreateCudaGpu(int index, DType dtype) {
  if (absl::Status status = CheckGpu(index); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<GpuRuntime>> runtime = CreateCudaRuntime(index);
  if (!runtime.ok()) return runtime.status();
  return CreateGpuDevice(*std::move(runtime), kKernels, dtype);
}

}  // namespace contextpool::engine
