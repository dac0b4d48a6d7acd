// Latencies, counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "clients/cli/bench/load_options.h"

namespace contextpool::cli::bench {

// Counts latencies in buckets of at most 1/128 of their value: any number of them in some 40 KiB,
// and a percentile that is at most 0.8% too high, never too low.
class LatencyHistogram {
 public:
  struct Bucket {
    // The largest latency that the bucket holds.
    Nanoseconds upper{};
    uint64_t count = 0;
  };

  // Negative latencies count as 0.
  void Add(Nanoseconds latency);
  void Merge(const LatencyHistogram& other);

  uint64_t count() const { return count_; }
  // Exact. 0 where nothing was counted.
  Nanoseconds max() const { return max_; }
  Nanoseconds mean() const;

  // The latency numbered `rank` of all in ascending order, from 1. REQUIRES: 1 <= rank <= count().
  Nanoseconds AtRank(uint64_t rank) const;
  // The smallest latency that at least `share` of all do not exceed; 0 where nothing was counted.
  // REQUIRES: 0 < share <= 1.
  Nanoseconds Percentile(double share) const;

  // Those that hold something, ascending.
  std::vector<Bucket> Buckets() const;

 private:
  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  Nanoseconds max_{0};
  double sum_ns_ = 0;
};

// How many of `count` values are not above the percentile `share`: at least 1.
uint64_t RankOf(double share, uint64_t count);

}  // namespace contextpool::cli::bench
