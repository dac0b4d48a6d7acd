// Places, collectives and barriers of kernels on a GPU. See kernels/cuda/primitives.cuh.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/launch_config.h"
#include "kernels/cuda/ptx_memory.cuh"
#include "kernels/cuda/ptx_types.cuh"
#include "kernels/cuda/vec.cuh"

namespace contextpool::kernels::cuda {

constexpr uint32_t kFullMask = 0xffffffff;

SIMT_DEVICE Dim3 ThreadIdx() { return {threadIdx.x, threadIdx.y, threadIdx.z}; }
SIMT_DEVICE Dim3 BlockIdx() { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
SIMT_DEVICE Dim3 BlockDim() { return {blockDim.x, blockDim.y, blockDim.z}; }
SIMT_DEVICE Dim3 GridDim() { return {gridDim.x, gridDim.y, gridDim.z}; }

SIMT_DEVICE void SyncThreads() { __syncthreads(); }
SIMT_DEVICE void SyncNamed(uint32_t barrier, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
SIMT_DEVICE void ArriveNamed(uint32_t barrier, uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
SIMT_DEVICE void SyncWarp(uint32_t mask = kFullMask) { __syncwarp(mask); }

template <typename T>
SIMT_DEVICE T Shuffle(T value, uint32_t lane, uint32_t mask = kFullMask) {
  return __shfl_sync(mask, value, static_cast<int>(lane));
}
template <typename T>
SIMT_DEVICE T ShuffleUp(T value, uint32_t delta, uint32_t mask = kFullMask) {
  return __shfl_up_sync(mask, value, delta);
}
template <typename T>
SIMT_DEVICE T ShuffleDown(T value, uint32_t delta, uint32_t mask = kFullMask) {
  return __shfl_down_sync(mask, value, delta);
}
template <typename T>
SIMT_DEVICE T ShuffleXor(T value, uint32_t lanes, uint32_t mask = kFullMask) {
  return __shfl_xor_sync(mask, value, static_cast<int>(lanes));
}

SIMT_DEVICE uint32_t Ballot(bool predicate, uint32_t mask = kFullMask) {
  return __ballot_sync(mask, predicate);
}
SIMT_DEVICE bool Any(bool predicate, uint32_t mask = kFullMask) {
  return __any_sync(mask, predicate) != 0;
}
SIMT_DEVICE bool All(bool predicate, uint32_t mask = kFullMask) {
  return __all_sync(mask, predicate) != 0;
}

// The instruction for 1, 2 and 4 matrices, `modifier` being "" or ".trans".
#define CONTEXTPOOL_LDMATRIX(modifier, r, address)                                              \
  if constexpr (N == 1) {                                                                       \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" modifier ".shared.b16 {%0}, [%1];"             \
                 : "=r"(r[0])                                                                   \
                 : "r"(address)                                                                 \
                 : "memory");                                                                   \
  } else if constexpr (N == 2) {                                                                \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" modifier ".shared.b16 {%0, %1}, [%2];"         \
                 : "=r"(r[0]), "=r"(r[1])                                                       \
                 : "r"(address)                                                                 \
                 : "memory");                                                                   \
  } else {                                                                                      \
    static_assert(N == 4);                                                                      \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" modifier ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                               \
                 : "r"(address)                                                                 \
                 : "memory");                                                                   \
  }

template <int N, typename T>
SIMT_DEVICE Vec<uint32_t, N> LoadMatrix(Shared<T> from, int row) {
  Vec<uint32_t, N> r;
  CONTEXTPOOL_LDMATRIX("", r.v, from.Address(row))
  return r;
}
template <int N, typename T>
SIMT_DEVICE Vec<uint32_t, N> LoadMatrixTransposed(Shared<T> from, int row) {
  Vec<uint32_t, N> r;
  CONTEXTPOOL_LDMATRIX(".trans", r.v, from.Address(row))
  return r;
}
#undef CONTEXTPOOL_LDMATRIX

// Before sm_90 there is no stmatrix: each lane asks the others for the addresses of its elements.
template <int N>
SIMT_DEVICE void StoreMatrixByLanes(uint32_t row_address, const Vec<uint32_t, N>& r) {
  const uint32_t lane = threadIdx.x % 32;
  SIMT_UNROLL
  for (uint32_t m = 0; m < N; ++m) {
    const uint32_t row = Shuffle(row_address, m * 8 + lane / 4);
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(row + lane % 4 * 4), "r"(r.v[m]) : "memory");
  }
}
template <int N>
SIMT_DEVICE void StoreTransposedByLanes(uint32_t row_address, const Vec<uint32_t, N>& r) {
  const uint32_t lane = threadIdx.x % 32;
  SIMT_UNROLL
  for (uint32_t i = 0; i < 2 * N; ++i) {
    const uint32_t row = Shuffle(row_address, i / 2 * 8 + lane % 4 * 2 + i % 2);
    const auto half = static_cast<uint16_t>(r.v[i / 2] >> 16 * (i % 2));
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(row + lane / 4 * 2), "h"(half) : "memory");
  }
}

#define CONTEXTPOOL_STMATRIX(modifier, r, address)                     \
  if constexpr (N == 1) {                                              \
    asm volatile("stmatrix.sync.aligned.m8n8.x1" modifier              \
                 ".shared.b16 [%0], {%1};" ::"r"(address),             \
                 "r"(r[0])                                             \
                 : "memory");                                          \
  } else if constexpr (N == 2) {                                       \
    asm volatile("stmatrix.sync.aligned.m8n8.x2" modifier              \
                 ".shared.b16 [%0], {%1, %2};" ::"r"(address),         \
                 "r"(r[0]), "r"(r[1])                                  \
                 : "memory");                                          \
  } else {                                                             \
    static_assert(N == 4);                                             \
    asm volatile("stmatrix.sync.aligned.m8n8.x4" modifier              \
                 ".shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), \
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])            \
                 : "memory");                                          \
  }

template <int N, typename T>
SIMT_DEVICE void StoreMatrix(Shared<T> to, int row, const Vec<uint32_t, N>& fragments) {
#if __CUDA_ARCH__ >= 900
  CONTEXTPOOL_STMATRIX("", fragments.v, to.Address(row))
#else
  StoreMatrixByLanes(to.Address(row), fragments);
#endif
}
template <int N, typename T>
SIMT_DEVICE void StoreMatrixTransposed(Shared<T> to, int row, const Vec<uint32_t, N>& fragments) {
#if __CUDA_ARCH__ >= 900
  CONTEXTPOOL_STMATRIX(".trans", fragments.v, to.Address(row))
#else
  StoreTransposedByLanes(to.Address(row), fragments);
#endif
}
#undef CONTEXTPOOL_STMATRIX

template <typename T>
SIMT_DEVICE void Mma(Vec<float, 4>& d, const Vec<uint32_t, 4>& a, const Vec<uint32_t, 2>& b) {
  if constexpr (std::is_same_v<T, BF16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d.v[0]), "+f"(d.v[1]), "+f"(d.v[2]), "+f"(d.v[3])
        : "r"(a.v[0]), "r"(a.v[1]), "r"(a.v[2]), "r"(a.v[3]), "r"(b.v[0]), "r"(b.v[1]));
  } else {
    static_assert(std::is_same_v<T, F16>);
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d.v[0]), "+f"(d.v[1]), "+f"(d.v[2]), "+f"(d.v[3])
        : "r"(a.v[0]), "r"(a.v[1]), "r"(a.v[2]), "r"(a.v[3]), "r"(b.v[0]), "r"(b.v[1]));
  }
}

SIMT_DEVICE void MmaS8(Vec<int32_t, 4>& d, const Vec<uint32_t, 4>& a, const Vec<uint32_t, 2>& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d.v[0]), "+r"(d.v[1]), "+r"(d.v[2]), "+r"(d.v[3])
      : "r"(a.v[0]), "r"(a.v[1]), "r"(a.v[2]), "r"(a.v[3]), "r"(b.v[0]), "r"(b.v[1]));
}

}  // namespace contextpool::kernels::cuda
