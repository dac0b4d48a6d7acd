// Everything that a run of `contextpool bench` found out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "clients/cli/bench/call_kinds.h"
#include "clients/cli/bench/find_rate.h"
#include "clients/cli/bench/load_options.h"
#include "clients/cli/bench/load_point.h"

namespace contextpool::cli::bench {

// Who was measured, as it describes itself.
struct ServerFacts {
  std::string address;
  std::string model;
  int64_t version = 0;
  std::string dtype;
  std::string device;
};

struct WorkloadFacts {
  // The texts' file; empty where they are made up.
  std::string file;
  size_t texts = 0;
  size_t distinct_texts = 0;
};

struct RateSearch {
  Objective objective;
  FoundRate found;
  // Why no rate was tried; empty: some were.
  std::string hopeless;
};

struct Findings {
  // RFC 3339, UTC.
  std::string started_at;
  LoadOptions options;
  ServerFacts server;
  WorkloadFacts workload;
  std::vector<CallKind> kinds;
  // In the order of the runs.
  std::vector<PointResult> points;
  std::optional<RateSearch> search;
  // Every call that the server was sent and that was not abandoned, by gRPC code.
  std::map<int, uint64_t> all_codes;
};

// The calls that share a class or a deadline.
struct Group {
  // "interactive", "bulk", "deadline 50ms", "no deadline".
  std::string name;
  Tally tally;
};

// One for each class and each deadline; none for a property that all calls share.
std::vector<Group> GroupsOf(const std::vector<CallKind>& kinds, const PointResult& result);

// As the server counts them: the mean over all points that were offered; 0 where none was.
double TokensPerInput(const std::vector<PointResult>& points);

// Count per second of the measured time.
inline double PerSecond(uint64_t count, const PointResult& result) {
  return static_cast<double>(count) / Seconds(result.measured);
}

}  // namespace contextpool::cli::bench
