// The 16-bit types of kernels on a GPU. See kernels/cuda/primitives.cuh.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/vec.cuh"

namespace contextpool::kernels::cuda {

using BF16 = __nv_bfloat16;
using F16 = __half;

SIMT_DEVICE float ToFloat(float value) { return value; }
SIMT_DEVICE float ToFloat(BF16 value) { return __bfloat162float(value); }
SIMT_DEVICE float ToFloat(F16 value) { return __half2float(value); }

template <typename T>
SIMT_DEVICE T FromFloat(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else if constexpr (std::is_same_v<T, BF16>) {
    return __float2bfloat16_rn(value);
  } else {
    static_assert(std::is_same_v<T, F16>);
    return __float2half_rn(value);
  }
}

template <typename T>
SIMT_DEVICE uint32_t Pack(float low, float high) {
  uint32_t pair;
  if constexpr (std::is_same_v<T, BF16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    static_assert(std::is_same_v<T, F16>);
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
}

template <typename T>
SIMT_DEVICE Vec<float, 2> Unpack(uint32_t pair) {
  if constexpr (std::is_same_v<T, BF16>) {
    return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
  } else {
    static_assert(std::is_same_v<T, F16>);
    return {__half2float(__ushort_as_half(static_cast<unsigned short>(pair))),
            __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16)))};
  }
}

}  // namespace contextpool::kernels::cuda
