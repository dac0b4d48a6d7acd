// Both schedules with ten seeds each: what a kernel has to pass on.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "kernels/simt/launch.h"

namespace contextpool::kernels::simt {

inline std::vector<LaunchOptions> EverySchedule() {
  constexpr uint64_t kSeeds = 10;
  std::vector<LaunchOptions> options;
  for (const Schedule schedule : {Schedule::kLockstep, Schedule::kWarpGreedy}) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      options.push_back({.schedule = schedule, .seed = seed});
    }
  }
  return options;
}

// For gtest's messages.
inline std::ostream& operator<<(std::ostream& out, const LaunchOptions& options) {
  return out << (options.schedule == Schedule::kLockstep ? "lockstep" : "warp-greedy") << ", seed "
             << options.seed;
}

}  // namespace contextpool::kernels::simt
