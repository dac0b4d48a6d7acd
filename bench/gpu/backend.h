// What differs between a GPU and the emulator.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/dtype.h"
#include "engine/device/device.h"
#include "kernels/launch.h"

namespace contextpool::gpu_check {

using Launcher = kernels::Status (*)(const void* params, kernels::StreamHandle stream);

// What went wrong, or "". `stream`: a cudaStream_t; the emulator makes its own.
std::string Launch(Launcher launcher, const void* params, void* stream);

void Register(const void* data, size_t bytes);
void Unregister(const void* data);

// For whole models. `dtype`: kBF16 or kF16.
absl::StatusOr<std::unique_ptr<engine::Device>> CreateGpu(engine::DType dtype);

}  // namespace contextpool::gpu_check
