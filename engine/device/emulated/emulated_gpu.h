// A GPU without a GPU, for tests: the CUDA kernels run on the emulator, matrix products on the CPU.
#pragma once

#include <memory>

#include "engine/base/dtype.h"
#include "engine/device/device.h"
#include "kernels/simt/launch.h"

namespace contextpool::engine {

// Slow, and as careful as the emulator: a fault of a kernel is an INTERNAL error of Synchronize
// that holds its report. `dtype`: kBF16 or kF16.
std::unique_ptr<Device> CreateEmulatedGpu(DType dtype,
                                          const kernels::simt::LaunchOptions& options = {});

}  // namespace contextpool::engine
