// What a rate search asks of a server.
#pragma once

#include <cstdint>
#include <string>

#include "clients/cli/bench/caller.h"
#include "clients/cli/bench/load_options.h"

namespace contextpool::cli::bench {

struct Objective {
  // 99% of all calls offered are OK and whole (no input failed) within this.
  Nanoseconds p99{0};
  // At most this share of them is not OK or not whole.
  double max_errors = kDefaultMaxErrors;
};

// "p99 <= 20ms with at most 0.1% not OK".
std::string Describe(const Objective& objective);

// Counts the calls that break an objective, to end a run when its outcome is certain. Calls that
// this client sent late, or that may have waited inside it, prove nothing and are left out. Not
// thread safe.
class ObjectiveWatch {
 public:
  // `scheduled`: the calls that the run measures; `rate_per_s`: of its open loop.
  ObjectiveWatch(const Objective& objective, double rate_per_s, uint64_t scheduled);

  // After each measured call.
  void Count(const EndedCall& call);
  // Whether a call still in flight at `now` has missed p99 already.
  bool IsOverdue(const SentCall& call, Time now) const;
  // Why the objective is lost, whatever comes, or "". `overdue`: calls in flight that are.
  std::string WhyLost(uint64_t overdue) const;

 private:
  bool IsFair(const SentCall& call) const;

  const Objective objective_;
  const Nanoseconds lag_tolerance_;
  const uint64_t scheduled_;
  uint64_t missed_ = 0;
  uint64_t errors_ = 0;
};

}  // namespace contextpool::cli::bench
