// The GPU of this machine, for tests that run on one.

#include "engine/device/cuda/cuda_gpu.h"

#include <cstdlib>
#include <iostream>

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
