#include "engine/device/emulated/emulated_gpu.h"

#include "tests/parity/test_gpu.h"

namespace contextpool::engine {

const bool kTestGpuIsExact = true;

std::unique_ptr<Device> CreateTestGpu(DType dtype) { return CreateEmulatedGpu(dtype); }

}  // namespace contextpool::engine
