// The highest rate that holds an objective.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "clients/cli/bench/load_point.h"
#include "clients/cli/bench/objective.h"

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

// Doubles the rate from `start_per_s` until it does not hold (or halves it until it does, down to
// kLowestRate), then halves the gap until its ends are at most 5% apart. Every rate is tried once,
// those that the client could not offer up to three times: that higher rates hold where lower ones
// failed is taken for chance.
FoundRate FindRate(double start_per_s, const std::function<ProbeOutcome(double rate_per_s)>& probe);

// Why no rate can hold the objective, for a person, or "". `alone`: what one caller got who waited
// for each answer, for at least as long as the objective's p99. Most of its calls must have held.
std::string WhyHopeless(const PointResult& alone, const Objective& objective);

// Of all calls offered, at least 99% were OK and whole within p99, and at most max_errors were not
// OK or not whole (some of their inputs failed). A load that was not offered is not held.
ProbeOutcome Judge(const PointResult& result, const Objective& objective);

// A probe should hold so many calls that its p99 is not the work of one of them,
constexpr double kLeastProbeCalls = 1000;
// but lasts no longer than this for it.
constexpr Nanoseconds kLongestProbe = std::chrono::minutes(5);
// The rate at which such a probe holds just 100 calls, the least that have a 99th percentile.
constexpr double kLowestRate = 100.0 / 300;

// `duration`, or longer where a probe of `rate_per_s` needs that, up to kLongestProbe.
Nanoseconds ProbeDuration(Nanoseconds duration, double rate_per_s);

}  // namespace contextpool::cli::bench
