// The CPU device: own vectorised kernels over a small pool of threads, LibTorch where they do not
// apply.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/device/device.h"
#include "kernels/cpu_stream.h"

namespace contextpool::engine {

// Who multiplies matrices.
enum class CpuGemm : uint8_t {
  // Our packed kernels: fused, and a row's result never depends on the other rows.
  kPacked,
  // LibTorch's sgemm.
  kLibTorch,
};

struct CpuDeviceOptions {
  // Threads that compute, the caller among them. 0: AvailableCpus().
  int32_t threads = 0;

  // For tests and comparisons; unset: the fastest that this CPU executes.
  std::optional<kernels::Isa> isa = std::nullopt;
  std::optional<CpuGemm> gemm = std::nullopt;
};

// INVALID_ARGUMENT for a negative number of threads or instructions that this CPU lacks.
absl::StatusOr<std::unique_ptr<Device>> CreateCpuDevice(const CpuDeviceOptions& options = {});

}  // namespace contextpool::engine
