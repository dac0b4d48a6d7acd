// Whether a load was offered as promised. Figures of a load that was not are figures of the load
// generator.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "clients/cli/bench/load_options.h"

namespace contextpool::cli::bench {

// An open loop is offered if at least 99% of the calls that were due were sent, and at most 1% of
// them (one, where that is less) later than this: the larger of 5 ms, which is what a busy
// operating system may take to wake a thread, and a tenth of the mean gap between calls, which
// hardly changes the load's shape. Latency counts from the due time in any case, so what lateness
// remains can only make figures worse.
Nanoseconds LagTolerance(double rate_per_s);

// After so much lag the rest of the schedule is not tried: the load is lost.
constexpr Nanoseconds kHopelessLag = std::chrono::seconds(1);

// More calls on one connection may wait inside this client, where nobody is late: a server may say
// how many it takes at one time (1,024 where it is not told otherwise), and the rest is not sent.
constexpr uint64_t kMostOnConnection = 1000;

// Above this share of a core the thread that collects replies sets the pace itself.
constexpr double kCollectorBusyLimit = 0.9;

struct OfferEvidence {
  // Unset: a closed loop, which has no schedule.
  std::optional<double> rate_per_s;
  uint64_t scheduled = 0;
  uint64_t sent = 0;
  // Sent later than LagTolerance().
  uint64_t late = 0;
  Nanoseconds worst_lag{0};
  // Most calls in flight on one connection.
  uint64_t most_on_connection = 0;
  double collector_busy = 0;
};

// Why the load was not offered, for a person, or "" if it was.
std::string WhyNotOffered(const OfferEvidence& evidence);

}  // namespace contextpool::cli::bench
