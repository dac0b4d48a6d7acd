// How large a launch is, in the words of both back ends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace contextpool::kernels {

struct Dim3 {
  uint32_t x = 1;
  uint32_t y = 1;
  uint32_t z = 1;

  bool operator==(const Dim3&) const = default;
};

constexpr uint64_t Volume(Dim3 size) { return uint64_t{size.x} * size.y * size.z; }

struct LaunchConfig {
  // The kernel's name, for reports and profilers. Must outlive the launch.
  const char* kernel = "";
  // Blocks.
  Dim3 grid = {};
  // Threads of a block.
  Dim3 block = {};
  // Dynamic shared memory of a block.
  size_t shared_bytes = 0;
};

// What a launcher may want to know of the device.
struct DeviceLimits {
  // Shared memory of a block, static and dynamic together.
  size_t shared_bytes = 0;
  // Multiprocessors.
  int processors = 0;
};

}  // namespace contextpool::kernels
