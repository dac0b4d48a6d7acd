// A GPU: kernels of our own and a runtime's matrix products on one stream.
#pragma once

#include <memory>

#include "engine/device/device.h"
#include "engine/device/gpu_kernels.h"
#include "engine/device/gpu_runtime.h"

namespace contextpool::engine {

// Computes in `dtype`, kBF16 or kF16. CheckTransformer takes heads of 32, 64 or 128 columns
// and hidden sizes up to 2,048; what else a kernel cannot take is an UNIMPLEMENTED error of
// Synchronize. Convolutions but those of patches, and MaxPool, are UNIMPLEMENTED.
std::unique_ptr<Device> CreateGpuDevice(std::unique_ptr<GpuRuntime> runtime,
                                        const GpuKernels& kernels, DType dtype);

}  // namespace contextpool::engine
