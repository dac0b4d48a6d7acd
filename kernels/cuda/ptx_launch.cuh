// Launches on a GPU, from the host's side. See kernels/cuda/primitives.cuh.
#pragma once

#include <cuda_runtime.h>

#include <mutex>
#include <set>
#include <utility>

#include "kernels/cuda/launch_config.h"
#include "kernels/launch.h"

namespace contextpool::kernels::cuda {

// Of the current device; zeros if it does not answer. Each thread asks once, and again when it
// comes back with another device.
inline DeviceLimits LimitsOf(StreamHandle /*stream*/) {
  thread_local int known_device = -1;
  thread_local DeviceLimits known;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return {};
  if (device == known_device) return known;
  int shared_bytes = 0;
  int processors = 0;
  if (cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess ||
      cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    return {};
  }
  known = {.shared_bytes = static_cast<size_t>(shared_bytes), .processors = processors};
  known_device = device;
  return known;
}

// Lets blocks of `kernel` have all the shared memory of the current device, without which they get
// 48 KiB at most. CUDA is told once for each kernel and device.
inline bool AllowSharedBytes(const void* kernel) {
  static std::mutex mutex;
  static std::set<std::pair<int, const void*>> allowed;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return false;
  const std::lock_guard<std::mutex> lock(mutex);
  if (allowed.count({device, kernel}) > 0) return true;
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess) return false;
  const size_t shared_bytes = LimitsOf(nullptr).shared_bytes;
  if (shared_bytes < attributes.sharedSizeBytes) return false;
  const size_t dynamic_bytes = shared_bytes - attributes.sharedSizeBytes;
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(dynamic_bytes)) != cudaSuccess) {
    return false;
  }
  allowed.insert({device, kernel});
  return true;
}

inline dim3 ToCuda(Dim3 size) { return {size.x, size.y, size.z}; }

template <typename... Parameters, typename... Args>
Status Launch(const LaunchConfig& config, StreamHandle stream, void (*kernel)(Parameters...),
              const Args&... args) {
  constexpr size_t kDefaultSharedBytes = 48 * 1024;
  if (config.shared_bytes > kDefaultSharedBytes &&
      !AllowSharedBytes(reinterpret_cast<const void*>(kernel))) {
    return Status::kLaunchFailed;
  }
  cudaLaunchConfig_t cuda_config = {};
  cuda_config.gridDim = ToCuda(config.grid);
  cuda_config.blockDim = ToCuda(config.block);
  cuda_config.dynamicSmemBytes = config.shared_bytes;
  cuda_config.stream = static_cast<cudaStream_t>(stream);
  return cudaLaunchKernelEx(&cuda_config, kernel, static_cast<Parameters>(args)...) == cudaSuccess
             ? Status::kOk
             : Status::kLaunchFailed;
}

}  // namespace contextpool::kernels::cuda
