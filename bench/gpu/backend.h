// What differs between a GPU and the emulator, for callers of launchers.
#pragma once

#include <cstddef>
#include <string>

#include "kernels/launch.h"

namespace contextpool::gpu_check {

using Launcher = kernels::Status (*)(const void* params, kernels::StreamHandle stream);

// What went wrong, or "". `stream`: a cudaStream_t; the emulator makes its own.
std::string Launch(Launcher launcher, const void* params, void* stream);

void Register(const void* data, size_t bytes);
void Unregister(const void* data);

}  // namespace contextpool::gpu_check
