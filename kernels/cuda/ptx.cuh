// The primitives of kernels/cuda/primitives.cuh on a GPU: one instruction each.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/cuda/ptx_memory.cuh"
#include "kernels/cuda/ptx_types.cuh"
#include "kernels/cuda/ptx_warp.cuh"
#include "kernels/launch.h"

namespace contextpool::kernels::cuda {

SIMT_DEVICE float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
SIMT_DEVICE float Rsqrt(float x) { return rsqrtf(x); }

inline dim3 ToCuda(Dim3 size) { return {size.x, size.y, size.z}; }

template <typename... Parameters, typename... Args>
Status Launch(const LaunchConfig& config, StreamHandle stream, void (*kernel)(Parameters...),
              const Args&... args) {
  // A kernel gets more than this only if it asks for it.
  constexpr size_t kDefaultSharedBytes = 48 * 1024;
  if (config.shared_bytes > kDefaultSharedBytes &&
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(config.shared_bytes)) != cudaSuccess) {
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
