// The primitives of kernels/cuda/primitives.cuh on a GPU: one instruction each.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/ptx_launch.cuh"
#include "kernels/cuda/ptx_memory.cuh"
#include "kernels/cuda/ptx_types.cuh"
#include "kernels/cuda/ptx_warp.cuh"

namespace contextpool::kernels::cuda {

SIMT_DEVICE float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
SIMT_DEVICE float Rsqrt(float x) { return rsqrtf(x); }

}  // namespace contextpool::kernels::cuda
