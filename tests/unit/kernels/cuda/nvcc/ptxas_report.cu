// Kernels of which ptxas has something to say. Its report, ptxas_report.txt, was recorded by
//   nvcc -std=c++20 -Xptxas=-v -gencode arch=compute_80,code=sm_80 \
//     -gencode arch=compute_90a,code=sm_90a -c ptxas_report.cu -o /dev/null 2>ptxas_report.txt
// with nvcc 13.0.88.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace contextpool::kernels::cuda {
namespace {

enum class Mode { kSum, kMean };

// Registers alone.
template <typename T, int kSteps, Mode kMode>
__global__ void PoolKernel(const T* x, T* y) {
  float sum = 0;
  for (int i = 0; i < kSteps; ++i) sum += float(x[i]);
  y[0] = T(kMode == Mode::kSum ? sum : sum / kSteps);
}

}  // namespace

// Static shared memory.
__global__ void TileKernel(float* x) {
  __shared__ float tile[256];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = tile[threadIdx.x ^ 1];
}

// More values than its launch bounds leave registers: spills.
template <int N>
__global__ __launch_bounds__(1024, 2) void SpillKernel(float* x) {
  float v[N];
#pragma unroll
  for (int i = 0; i < N; ++i) v[i] = x[i];
#pragma unroll
  for (int j = 0; j < N; ++j) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) sum += v[i] * v[(i * 7 + j) % N];
    x[j] = sum;
  }
}

// A function of its own, and in the kernel an array with an index that only the launch knows.
__device__ __noinline__ float Square(const float* x, int i) { return x[i] * x[i]; }

__global__ void CallKernel(float* x, int i) {
  float v[8];
  for (int k = 0; k < 8; ++k) v[k] = Square(x, k);
  x[0] = v[i];
}

template __global__ void SpillKernel<40>(float*);

void Launch(__half* x, __nv_bfloat16* y) {
  PoolKernel<__half, 4, Mode::kSum><<<1, 1>>>(x, x);
  PoolKernel<__nv_bfloat16, 4, Mode::kMean><<<1, 1>>>(y, y);
}

}  // namespace contextpool::kernels::cuda
