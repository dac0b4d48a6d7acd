// N values side by side: what one vector load, one matrix fragment or one pair is made of.
#pragma once

#include "kernels/cuda/macros.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// Aligned to its size, so that nvcc loads and stores it with one instruction (up to 16 bytes).
template <typename T, int N>
struct alignas(sizeof(T) * N) Vec {
  T v[N];

  SIMT_HOST_DEVICE T& operator[](int i) { return v[i]; }
  SIMT_HOST_DEVICE const T& operator[](int i) const { return v[i]; }
};

}  // namespace contextpool::kernels::SIMT_BACKEND
