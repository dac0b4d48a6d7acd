// Puts one load on a server and measures it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "clients/cli/bench/caller.h"
#include "clients/cli/bench/load_point.h"
#include "clients/cli/bench/objective.h"

namespace contextpool::cli::bench {

struct RunProgress {
  // From 0 to warm-up plus duration; more while the last answers are waited for.
  Nanoseconds elapsed{0};
  uint64_t answered = 0;
  uint64_t in_flight = 0;
};

struct RunControl {
  // The run ends soon after this became true.
  const std::atomic<bool>& stop;
  // How long answers are waited for after the last call was due. What is not answered by then is
  // cancelled, and counted as CANCELLED.
  Nanoseconds patience = std::chrono::seconds(60);
  // Of an open loop: the run ends as soon as it is certain that this is not held.
  std::optional<Objective> objective;
  // Called a few times a second.
  std::function<void(const RunProgress&)> progress = [](const RunProgress&) {};
};

// Returns when every call has ended, so that the next point meets an idle server. REQUIRES: no call
// of `caller` is in flight.
PointResult RunPoint(const LoadPoint& point, std::span<const CallKind> kinds, Caller& caller,
                     const RunControl& control);

}  // namespace contextpool::cli::bench
