#include "engine/base/stats.h"

#include <algorithm>
#include <cmath>

namespace contextpool::engine {
namespace {

std::vector<double> Geometric(double first, double last, double factor) {
  std::vector<double> bounds;
  for (int i = 0;; ++i) {
    bounds.push_back(first * std::pow(factor, i));
    if (bounds.back() >= last) return bounds;
  }
}

}  // namespace

const std::vector<double>& Histogram::TimeBounds() {
  static const std::vector<double> bounds = Geometric(1e-4, 30, std::sqrt(2.0));
  return bounds;
}

const std::vector<double>& Histogram::CountBounds() {
  static const std::vector<double> bounds = Geometric(1, 1 << 20, 2);
  return bounds;
}

const std::vector<double>& Histogram::SupportSizeBounds() {
  static const std::vector<double> bounds = Geometric(0.01, 1000, std::sqrt(2.0));
  return bounds;
}

Histogram::Histogram(const std::vector<double>& bounds) : bounds_(bounds) {}

void Histogram::Observe(double value) {
  const size_t bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[bucket].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

HistogramSnapshot Histogram::Snapshot() const {
  HistogramSnapshot snapshot;
  snapshot.bounds = bounds_;
  for (size_t i = 0; i <= bounds_.size(); ++i) {
    snapshot.counts.push_back(counts_[i].load(std::memory_order_relaxed));
  }
  snapshot.sum = sum_.load(std::memory_order_relaxed);
  return snapshot;
}

ModelStats CountersSnapshot(const ModelCounters& counters) {
  ModelStats stats;
  for (size_t i = 0; i < kStages.size(); ++i) {
    stats.stage_seconds[i] = counters.stage_seconds[i].Snapshot();
  }
  stats.batch_inputs = counters.batch_inputs.Snapshot();
  stats.batch_tokens = counters.batch_tokens.Snapshot();
  stats.input_tokens = counters.input_tokens.Snapshot();
  stats.truncated_inputs = counters.truncated_inputs;
  for (size_t i = 0; i < kRejectReasons.size(); ++i) stats.rejected[i] = counters.rejected[i];
  for (size_t i = 0; i < kDropReasons.size(); ++i) stats.dropped[i] = counters.dropped[i];
  return stats;
}

ContextPoolStats CountersSnapshot(const ContextPoolCounters& counters) {
  ContextPoolStats stats;
  for (const Histogram& layer : counters.support_size) {
    stats.support_size.push_back(layer.Snapshot());
  }
  stats.computed_tiles = counters.computed_tiles;
  stats.skipped_tiles = counters.skipped_tiles;
  stats.skipped_tiles_ratio = counters.skipped_tiles_ratio;
  return stats;
}

}  // namespace contextpool::engine
