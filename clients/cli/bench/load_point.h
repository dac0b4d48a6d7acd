// One load, and what was measured under it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "clients/cli/bench/call_kinds.h"
#include "clients/cli/bench/histogram.h"
#include "clients/cli/bench/load_options.h"

namespace contextpool::cli::bench {

struct LoadPoint {
  // Calls per second of an open loop; unset: a closed loop.
  std::optional<double> rate_per_s;
  ArrivalShape arrivals = ArrivalShape::kPoisson;
  // Calls in flight at any time of a closed loop.
  uint32_t concurrency = 0;
  Nanoseconds warmup{0};
  Nanoseconds duration{0};
  uint64_t seed = 1;
};

// "200 calls/s", "8 in flight".
std::string Describe(const LoadPoint& point);

// The calls of some kinds. All but `in_window` counts calls that were due while it was measured,
// whenever they ended: every call that was offered is accounted for.
struct Tally {
  uint64_t calls = 0;
  // By gRPC code.
  std::map<int, uint64_t> codes;
  // OK, no input failed, and before the deadline if there is one.
  uint64_t good_calls = 0;
  // OK, but some inputs failed.
  uint64_t partial_calls = 0;
  uint64_t failed_inputs = 0;
  uint64_t tokens = 0;
  uint64_t inputs = 0;
  // From the time when the call was due; of a closed loop that is when it was sent.
  LatencyHistogram ok;
  LatencyHistogram not_ok;
  // Sums over OK calls of the server's own times.
  Nanoseconds server_queue{0};
  Nanoseconds server_compute{0};
  Nanoseconds server_total{0};

  // What was answered while it was measured, whenever it was due: the throughput. A backlog that is
  // answered later adds nothing here.
  struct {
    uint64_t ok_calls = 0;
    uint64_t good_calls = 0;
    uint64_t inputs = 0;
    uint64_t tokens = 0;
  } in_window;

  void Merge(const Tally& other);
  uint64_t not_ok_calls() const { return not_ok.count(); }
};

// The latency that `share` of all offered calls kept, where a call that is not OK or not whole
// never does. Nothing if more calls failed than that, or none was made. What is not whole is taken
// for the quickest of the OK calls, so that the latency may be too high, never too low.
std::optional<Nanoseconds> OfferedPercentile(const Tally& tally, double share);

struct PointResult {
  LoadPoint point;
  // Why the load was not offered; then no other figure of this result means anything. Empty: it
  // was.
  std::string not_offered;
  // Why the rest was not run: an objective was lost. Then no other figure means anything either,
  // since the calls that took longest were not waited for. Empty: it was run.
  std::string lost;
  // Shorter than point.duration if the run was interrupted.
  Nanoseconds measured{0};
  bool interrupted = false;
  // Due while it was measured, and of those sent and ended.
  uint64_t scheduled = 0;
  uint64_t sent = 0;
  // In flight when the run was interrupted: cancelled, and counted nowhere else.
  uint64_t abandoned = 0;
  // How much later than due calls were sent.
  LatencyHistogram lag;
  uint64_t late = 0;
  // When a measured call was sent, that one included: most on one connection, and on all.
  size_t most_on_connection = 0;
  size_t most_in_flight = 0;
  // One for each kind, in their order.
  std::vector<Tally> kinds;
  // Every call, warm-up too, by gRPC code.
  std::map<int, uint64_t> all_codes;
  // User and system time of the whole process per call.
  Nanoseconds client_cpu_per_call{0};
  // Share of the time that the thread which collects replies was computing.
  double collector_busy = 0;

  bool has_figures() const { return not_offered.empty() && lost.empty(); }
  Tally Total() const;
};

}  // namespace contextpool::cli::bench
