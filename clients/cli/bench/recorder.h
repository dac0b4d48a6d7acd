// Counts the calls of one load point.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "clients/cli/bench/caller.h"
#include "clients/cli/bench/load_point.h"

namespace contextpool::cli::bench {

// Calls that were due in [begin + warmup, begin + warmup + duration) are measured; replies that
// came then make the throughput. Not thread safe.
class Recorder {
 public:
  // `kinds` must outlive the recorder. A closed loop has no schedule: its calls are due when sent.
  Recorder(const LoadPoint& point, std::span<const CallKind> kinds, Time begin);

  Time end() const { return end_; }
  // Whether a call that is due at `due` is measured.
  bool Measures(Time due) const { return due >= begin_ && due < end_; }

  void Record(const EndedCall& call);

  // The run ends here, before its time: calls due later are not measured. Those that are still in
  // flight will never be recorded. GiveUp: an objective is lost, and `why` says so.
  void Interrupt(Time now, uint64_t in_flight);
  void GiveUp(Time now, uint64_t in_flight, std::string why);

  // REQUIRES: every call that was sent is recorded, or was in flight at an interruption.
  // `scheduled`: calls that were due while it was measured; of a closed loop all that were sent.
  PointResult Finish(std::optional<uint64_t> scheduled, double collector_busy);

 private:
  void EndAt(Time now, uint64_t in_flight);
  void RecordMeasured(const EndedCall& call);

  const std::span<const CallKind> kinds_;
  const Nanoseconds lag_tolerance_;
  const Time begin_;
  Time end_;
  PointResult result_;
};

}  // namespace contextpool::cli::bench
