// The highest rate that holds an objective.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "clients/cli/bench/load_point.h"

namespace contextpool::cli::bench {

enum class ProbeOutcome : uint8_t {
  kHolds,
  kFails,
  // The client could not offer the rate, which says nothing about the server.
  kNotOffered,
  // Somebody stopped the search.
  kInterrupted
};

struct FoundRate {
  // Highest rate that was tried and held; unset: none held.
  std::optional<double> held_per_s;
  // Lowest rate above it that was tried and did not; unset: none did.
  std::optional<double> failed_per_s;
  // Whether the search ended where the client, not the server, did not keep up.
  bool client_limited = false;
  bool interrupted = false;
};

// Doubles the rate from `start_per_s` until it does not hold (or halves it until it does), then
// halves the gap until its ends are at most 5% apart. Every rate is tried once: that higher rates
// hold where lower ones failed is taken for chance.
FoundRate FindRate(double start_per_s, const std::function<ProbeOutcome(double rate_per_s)>& probe);

struct Objective {
  Nanoseconds p99{0};
  double max_errors = kDefaultMaxErrors;
};

// Of all calls offered, at least 99% were OK and whole within p99, and at most max_errors were not
// OK or not whole (some of their inputs failed). A load that was not offered is not held.
ProbeOutcome Judge(const PointResult& result, const Objective& objective);

// A probe must hold so many calls that its p99 is not the work of one of them.
constexpr double kLeastProbeCalls = 1000;

// `duration`, or longer where a probe of `rate_per_s` needs that.
Nanoseconds ProbeDuration(Nanoseconds duration, double rate_per_s);

}  // namespace contextpool::cli::bench
