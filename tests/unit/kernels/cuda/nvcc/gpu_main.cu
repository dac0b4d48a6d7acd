// Runs the kernels' tests on a GPU. Where there is none, or no driver that knows this CUDA, says so
// and ends with kSkipped.

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdio>

// What CTest takes for a skipped test.
constexpr int kSkipped = 77;

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) {
    std::printf("Skipped: these tests need an NVIDIA GPU and its driver. CUDA says: %s\n",
                cudaGetErrorString(error));
    return kSkipped;
  }
  // There is a GPU, or should be one.
  if (error != cudaSuccess || count == 0) {
    std::printf("No GPU can be used: %s\n", cudaGetErrorString(error));
    return 1;
  }
  cudaDeviceProp device;
  if (cudaGetDeviceProperties(&device, 0) == cudaSuccess) {
    std::printf("On %s, compute capability %d.%d\n", device.name, device.major, device.minor);
  }
  return RUN_ALL_TESTS();
}
