#include "engine/base/stats.h"

#include <algorithm>
#include <cmath>

#include "engine/base/retry.h"

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

const std::vector<double>& Histogram::SizeBounds() {
  static const std::vector<double> bounds = Geometric(256, 1 << 26, 2);
  return bounds;
}

const std::vector<double>& Histogram::SupportSizeBounds() {
  static const std::vector<double> bounds = Geometric(0.01, 1000, std::sqrt(2.0));
  return bounds;
}

void Accumulate(HistogramSnapshot& total, const HistogramSnapshot& part) {
  if (total.bounds.empty()) {
    total = part;
    return;
  }
  for (size_t i = 0; i < part.counts.size() && i < total.counts.size(); ++i) {
    total.counts[i] += part.counts[i];
  }
  total.sum += part.sum;
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

void ModelCounters::CountDropped(absl::StatusCode why, int64_t inputs) {
  const auto count = [&](DropReason reason) { dropped[static_cast<size_t>(reason)] += inputs; };
  if (why == absl::StatusCode::kDeadlineExceeded) count(DropReason::kDeadline);
  if (why == absl::StatusCode::kCancelled) count(DropReason::kCancelled);
}

void ModelCounters::CountRefused(const absl::Status& why, int64_t inputs) {
  CountDropped(why.code(), inputs);
  if (absl::IsInvalidArgument(why)) Count(RejectReason::kTooLarge);
  if (absl::IsUnavailable(why)) Count(RejectReason::kDraining);
  if (absl::IsResourceExhausted(why)) {
    Count(IsTooLate(why) ? RejectReason::kDeadline : RejectReason::kQueueFull);
  }
}

ModelStats CountersSnapshot(const ModelCounters& counters) {
  ModelStats stats;
  for (size_t i = 0; i < kStages.size(); ++i) {
    stats.stage_seconds[i] = counters.stage_seconds[i].Snapshot();
  }
  stats.batch_inputs = counters.batch_inputs.Snapshot();
  stats.batch_tokens = counters.batch_tokens.Snapshot();
  stats.input_tokens = counters.input_tokens.Snapshot();
  stats.image_bytes = counters.image_bytes.Snapshot();
  stats.image_pixels = counters.image_pixels.Snapshot();
  for (size_t i = 0; i < kImageFaults.size(); ++i) stats.image_faults[i] = counters.image_faults[i];
  stats.truncated_inputs = counters.truncated_inputs;
  for (size_t i = 0; i < kRejectReasons.size(); ++i) stats.rejected[i] = counters.rejected[i];
  for (size_t i = 0; i < kDropReasons.size(); ++i) stats.dropped[i] = counters.dropped[i];
  for (size_t i = 0; i < kCanaryResults.size(); ++i) stats.canaries[i] = counters.canaries[i];
  stats.coalesced_inputs = counters.coalesced_inputs;
  stats.cache_hits = counters.cache_hits;
  stats.cache_misses = counters.cache_misses;
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

void Accumulate(ModelStats& total, const ModelStats& part) {
  for (size_t i = 0; i < kStages.size(); ++i) {
    Accumulate(total.stage_seconds[i], part.stage_seconds[i]);
  }
  Accumulate(total.batch_inputs, part.batch_inputs);
  Accumulate(total.batch_tokens, part.batch_tokens);
  Accumulate(total.input_tokens, part.input_tokens);
  Accumulate(total.image_bytes, part.image_bytes);
  Accumulate(total.image_pixels, part.image_pixels);
  for (size_t i = 0; i < kImageFaults.size(); ++i) total.image_faults[i] += part.image_faults[i];
  total.truncated_inputs += part.truncated_inputs;
  for (size_t i = 0; i < kRejectReasons.size(); ++i) total.rejected[i] += part.rejected[i];
  for (size_t i = 0; i < kDropReasons.size(); ++i) total.dropped[i] += part.dropped[i];
  for (size_t i = 0; i < kCanaryResults.size(); ++i) total.canaries[i] += part.canaries[i];
  total.coalesced_inputs += part.coalesced_inputs;
  total.cache_hits += part.cache_hits;
  total.cache_misses += part.cache_misses;
  for (size_t i = 0; i < part.context_pool.support_size.size(); ++i) {
    Accumulate(total.context_pool.support_size[i], part.context_pool.support_size[i]);
  }
  total.context_pool.computed_tiles += part.context_pool.computed_tiles;
  total.context_pool.skipped_tiles += part.context_pool.skipped_tiles;
}

}  // namespace contextpool::engine
