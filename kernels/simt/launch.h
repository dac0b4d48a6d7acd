// Launching a kernel on the emulator, from the host's side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/cuda/launch_config.h"
#include "kernels/launch.h"
#include "kernels/simt/report.h"

namespace contextpool::kernels::simt {

enum class Schedule : uint8_t {
  // Warps take turns, each as far as its next meeting point: all are about equally far.
  kLockstep,
  // One warp at a time, as far as it gets: finds barriers that are missing.
  kWarpGreedy,
};

struct LaunchOptions {
  Schedule schedule = Schedule::kLockstep;
  // Of the order of warps, and of the lanes of a warp between meeting points.
  uint64_t seed = 0;
  // Threads of the host that run blocks. The blocks themselves do not depend on it.
  int host_threads = 1;
  // Off for a kernel that loads shared memory which it never wrote and discards the values.
  bool fault_on_uninitialised_shared = true;
  // Off for a kernel whose threads store the same value to one place, or race by intent.
  bool fault_on_race = true;
  // Static and dynamic together; the default is sm_90's.
  size_t shared_bytes_limit = 227 * 1024;
  // Accesses of one thread before it must have met others or ended.
  int64_t accesses_limit = 100'000'000;
};

// Runs `kernel` once for each thread of the launch; returns when all are done or one has failed.
LaunchReport Run(const LaunchConfig& config, const LaunchOptions& options,
                 const std::function<void()>& kernel);

// Takes the place of a cudaStream_t: its handle goes to a launch function, which runs its kernels
// at once. Not thread-safe.
class Stream {
 public:
  explicit Stream(LaunchOptions options = {}) : options_(options) {}

  StreamHandle handle() { return this; }
  const LaunchOptions& options() const { return options_; }

  // One for each launch so far. A launch after a fault still runs.
  const std::vector<LaunchReport>& reports() const { return reports_; }

  Status Launch(const LaunchConfig& config, const std::function<void()>& kernel);

 private:
  LaunchOptions options_;
  std::vector<LaunchReport> reports_;
};

}  // namespace contextpool::kernels::simt
