// Runs the kernels' tests on a GPU; where there is none, says so and ends with kSkipped.

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdio>

// What CTest takes for a skipped test.
constexpr int kSkipped = 77;

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    std::printf("Skipped: these tests need an NVIDIA GPU and its driver. CUDA says: %s\n",
                error == cudaSuccess ? "no device" : cudaGetErrorString(error));
    return kSkipped;
  }
  cudaDeviceProp device;
  if (cudaGetDeviceProperties(&device, 0) == cudaSuccess) {
    std::printf("On %s, compute capability %d.%d\n", device.name, device.major, device.minor);
  }
  return RUN_ALL_TESTS();
}
