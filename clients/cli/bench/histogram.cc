#include "clients/cli/bench/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace contextpool::cli::bench {
namespace {

// Buckets per power of two. Below twice that, every nanosecond has a bucket of its own.
constexpr unsigned kBits = 7;
constexpr uint64_t kPerOctave = 1u << kBits;

size_t IndexOf(uint64_t ns) {
  if (ns < 2 * kPerOctave) return ns;
  const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - kBits - 1;
  return shift * kPerOctave + (ns >> shift);
}

Nanoseconds UpperOf(size_t index) {
  if (index < 2 * kPerOctave) return Nanoseconds(index);
  const size_t shift = index / kPerOctave - 1;
  return Nanoseconds(((index - shift * kPerOctave + 1) << shift) - 1);
}

}  // namespace

void LatencyHistogram::Add(Nanoseconds latency) {
  latency = std::max(latency, Nanoseconds(0));
  const size_t index = IndexOf(static_cast<uint64_t>(latency.count()));
  if (index >= counts_.size()) counts_.resize(index + 1);
  ++counts_[index];
  ++count_;
  max_ = std::max(max_, latency);
  sum_ns_ += static_cast<double>(latency.count());
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  counts_.resize(std::max(counts_.size(), other.counts_.size()));
  for (size_t i = 0; i < other.counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
  sum_ns_ += other.sum_ns_;
}

Nanoseconds LatencyHistogram::mean() const {
  if (count_ == 0) return Nanoseconds(0);
  return Nanoseconds(std::llround(sum_ns_ / static_cast<double>(count_)));
}

Nanoseconds LatencyHistogram::AtRank(uint64_t rank) const {
  uint64_t seen = 0;
  for (size_t index = 0; index < counts_.size(); ++index) {
    seen += counts_[index];
    if (seen >= rank) return std::min(UpperOf(index), max_);
  }
  return max_;
}

Nanoseconds LatencyHistogram::Percentile(double share) const {
  return count_ == 0 ? Nanoseconds(0) : AtRank(RankOf(share, count_));
}

std::vector<LatencyHistogram::Bucket> LatencyHistogram::Buckets() const {
  std::vector<Bucket> buckets;
  for (size_t index = 0; index < counts_.size(); ++index) {
    if (counts_[index] > 0) buckets.push_back({UpperOf(index), counts_[index]});
  }
  return buckets;
}

uint64_t RankOf(double share, uint64_t count) {
  // A product that is whole may come out a little above, as 0.07 * 100 does.
  const double rank = std::ceil(share * static_cast<double>(count) - 1e-6);
  return std::clamp<uint64_t>(static_cast<uint64_t>(std::max(rank, 1.0)), 1,
                              std::max<uint64_t>(count, 1));
}

}  // namespace contextpool::cli::bench
