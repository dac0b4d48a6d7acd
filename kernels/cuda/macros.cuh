// The few words that CUDA and C++ spell differently.
#pragma once

// A source that includes kernels/cuda/primitives.cuh puts everything it defines into namespace
// contextpool::kernels::SIMT_BACKEND, so that one program may hold both builds of a kernel.
#if defined(__CUDACC__)

#define SIMT_BACKEND cuda
#define SIMT_DEVICE __device__ __forceinline__
#define SIMT_HOST_DEVICE __host__ __device__ __forceinline__
// Declares a kernel of at most `threads` threads a block, `blocks` of which share a processor:
//   template <typename T> SIMT_KERNEL(256, 2) void AddBias(...) { ... }
#define SIMT_KERNEL(threads, blocks) __global__ __launch_bounds__(threads, SIMT_BLOCKS_HERE(blocks))
// `blocks` are for processors of 2,048 threads; those of compute capability 12 have 1,536.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
#define SIMT_BLOCKS_HERE(blocks) ((blocks) < 2 ? 1 : (blocks)*3 / 4)
#else
#define SIMT_BLOCKS_HERE(blocks) (blocks)
#endif
#define SIMT_UNROLL _Pragma("unroll")
#define SIMT_NO_UNROLL _Pragma("unroll 1")

#else

#define SIMT_BACKEND emulated
#define SIMT_DEVICE inline
#define SIMT_HOST_DEVICE constexpr
#define SIMT_KERNEL(threads, blocks)
#define SIMT_UNROLL
#define SIMT_NO_UNROLL

#endif
