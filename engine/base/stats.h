// Figures about the engine's work. The engine counts; whoever wants to know takes a snapshot.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/model_info.h"

namespace contextpool::engine {

// Bucket bounds growing by a fixed factor. Value v falls into the first bucket with v <= bound.
struct HistogramSnapshot {
  std::vector<double> bounds;
  // One count per bound and a last one for larger values.
  std::vector<uint64_t> counts;
  double sum = 0;
};

// A histogram that many threads fill without a lock.
class Histogram {
 public:
  // 100 microseconds to 30 seconds and beyond, in steps of sqrt(2).
  static const std::vector<double>& TimeBounds();
  // 1 to 1,048,576 in powers of two.
  static const std::vector<double>& CountBounds();
  // Support sizes in tokens: 0.01 to beyond 1,000, in steps of sqrt(2).
  static const std::vector<double>& SupportSizeBounds();

  // REQUIRES: `bounds` is sorted, has at most kMaxBounds entries and lives as long as this.
  explicit Histogram(const std::vector<double>& bounds = TimeBounds());

  void Observe(double value);
  HistogramSnapshot Snapshot() const;

 private:
  static constexpr size_t kMaxBounds = 48;
  const std::vector<double>& bounds_;
  std::array<std::atomic<uint64_t>, kMaxBounds + 1> counts_{};
  std::atomic<double> sum_{0};
};

enum class Stage : uint8_t {
  kTokenize,
  kQueue,
  kBatchWait,
  kHostToDevice,
  kCompute,
  kDeviceToHost
};
inline constexpr std::array<std::pair<Stage, const char*>, 6> kStages = {{
    {Stage::kTokenize, "tokenize"},
    {Stage::kQueue, "queue"},
    {Stage::kBatchWait, "batch_wait"},
    {Stage::kHostToDevice, "host_to_device"},
    {Stage::kCompute, "compute"},
    {Stage::kDeviceToHost, "device_to_host"},
}};

enum class RejectReason : uint8_t { kQueueFull, kTooLarge, kDraining };
inline constexpr std::array<std::pair<RejectReason, const char*>, 3> kRejectReasons = {{
    {RejectReason::kQueueFull, "queue_full"},
    {RejectReason::kTooLarge, "too_large"},
    {RejectReason::kDraining, "draining"},
}};

enum class DropReason : uint8_t { kDeadline, kCancelled };
inline constexpr std::array<std::pair<DropReason, const char*>, 2> kDropReasons = {{
    {DropReason::kDeadline, "deadline"},
    {DropReason::kCancelled, "cancelled"},
}};

// What ContextPool did in the batches that were sampled.
struct ContextPoolCounters {
  // Sizes of the pooled tokens, one histogram per layer with ContextPool. Made before the model is
  // ready, and not looked at before that.
  std::deque<Histogram> support_size;
  std::atomic<uint64_t> computed_tiles{0};
  std::atomic<uint64_t> skipped_tiles{0};
  // Share of the tiles that the last sample skipped.
  std::atomic<double> skipped_tiles_ratio{0};
};

// One model's figures as they are counted. Every stage may write at any time.
struct ModelCounters {
  std::array<Histogram, kStages.size()> stage_seconds;
  Histogram batch_inputs{Histogram::CountBounds()};
  Histogram batch_tokens{Histogram::CountBounds()};
  Histogram input_tokens{Histogram::CountBounds()};
  std::atomic<uint64_t> truncated_inputs{0};
  std::array<std::atomic<uint64_t>, kRejectReasons.size()> rejected{};
  std::array<std::atomic<uint64_t>, kDropReasons.size()> dropped{};
  ContextPoolCounters context_pool;

  void Observe(Stage stage, Duration duration) {
    stage_seconds[static_cast<size_t>(stage)].Observe(Seconds(duration));
  }
  void Count(RejectReason reason) { ++rejected[static_cast<size_t>(reason)]; }
  void Count(DropReason reason) { ++dropped[static_cast<size_t>(reason)]; }
};

struct ContextPoolStats {
  // In the order of ModelInfo::context_pool_layers.
  std::vector<HistogramSnapshot> support_size;
  uint64_t computed_tiles = 0;
  uint64_t skipped_tiles = 0;
  double skipped_tiles_ratio = 0;
};

// One model's figures at one moment.
struct ModelStats {
  std::shared_ptr<const ModelInfo> info;
  ModelState state = ModelState::kLoading;
  std::string reason;
  double load_seconds = 0;

  std::array<HistogramSnapshot, kStages.size()> stage_seconds;
  HistogramSnapshot batch_inputs;
  HistogramSnapshot batch_tokens;
  HistogramSnapshot input_tokens;
  uint64_t truncated_inputs = 0;
  std::array<uint64_t, kRejectReasons.size()> rejected{};
  std::array<uint64_t, kDropReasons.size()> dropped{};
  std::array<int64_t, kPriorities> queue_inputs{};
  std::array<int64_t, kPriorities> queue_tokens{};
  ContextPoolStats context_pool;
};

// The counted part but ContextPool's; what the counters do not know (info, state, queue) is left
// for the caller.
ModelStats CountersSnapshot(const ModelCounters& counters);
// REQUIRES: the model is ready.
ContextPoolStats CountersSnapshot(const ContextPoolCounters& counters);

struct Stats {
  // Sorted by name, then version. Failed and loading models are listed too.
  std::vector<ModelStats> models;
  // Accepted and not yet answered.
  int64_t requests_in_flight = 0;
};

}  // namespace contextpool::engine
