// A program of its own: it is skipped where there is no GPU.

#include "engine/device/cuda/cuda_gpu.h"

#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "gtest/gtest.h"
#include "tests/parity/test_gpu.h"

namespace contextpool::engine {

const bool kTestGpuIsExact = false;

std::unique_ptr<Device> CreateTestGpu(DType dtype) {
  absl::StatusOr<std::unique_ptr<Device>> device = CreateCudaGpu(0, dtype);
  if (device.ok()) return *std::move(device);
  std::cerr << device.status() << '\n';
  std::exit(EXIT_FAILURE);
}

}  // namespace contextpool::engine

// What CTest takes for a skipped test.
constexpr int kSkipped = 77;

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const absl::StatusOr<int> count = contextpool::engine::CudaGpuCount();
  if (absl::IsUnavailable(count.status())) {
    std::cout << "Skipped: " << count.status().message() << '\n';
    return kSkipped;
  }
  return RUN_ALL_TESTS();
}
