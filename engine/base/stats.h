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

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "engine/base/image_fault.h"
#include "engine/base/model_info.h"

namespace contextpool::engine {

// Bucket bounds growing by a fixed factor. Value v falls into the first bucket with v <= bound.
struct HistogramSnapshot {
  std::vector<double> bounds;
  // One count per bound and a last one for larger values.
  std::vector<uint64_t> counts;
  double sum = 0;
};

// Sums of histograms with the same bounds; one without bounds counts as zero.
void Accumulate(HistogramSnapshot& total, const HistogramSnapshot& part);

// A histogram that many threads fill without a lock.
class Histogram {
 public:
  // 100 microseconds to 30 seconds and beyond, in steps of sqrt(2).
  static const std::vector<double>& TimeBounds();
  // 1 to 1,048,576 in powers of two.
  static const std::vector<double>& CountBounds();
  // 256 to 67,108,864 in powers of two.
  static const std::vector<double>& SizeBounds();
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
  kDecodeImage,
  kQueue,
  kBatchWait,
  kHostToDevice,
  kCompute,
  kDeviceToHost
};
inline constexpr std::array<std::pair<Stage, const char*>, 7> kStages = {{
    {Stage::kTokenize, "tokenize"},
    {Stage::kDecodeImage, "decode_image"},  // of each image
    {Stage::kQueue, "queue"},
    {Stage::kBatchWait, "batch_wait"},
    {Stage::kHostToDevice, "host_to_device"},
    {Stage::kCompute, "compute"},
    {Stage::kDeviceToHost, "device_to_host"},
}};

enum class RejectReason : uint8_t { kQueueFull, kDeadline, kTooLarge, kDraining, kUnhealthy };
inline constexpr std::array<std::pair<RejectReason, const char*>, 5> kRejectReasons = {{
    {RejectReason::kQueueFull, "queue_full"},
    {RejectReason::kDeadline, "deadline"},
    {RejectReason::kTooLarge, "too_large"},
    {RejectReason::kDraining, "draining"},
    {RejectReason::kUnhealthy, "unhealthy"},
}};

enum class DropReason : uint8_t { kDeadline, kCancelled };
inline constexpr std::array<std::pair<DropReason, const char*>, 2> kDropReasons = {{
    {DropReason::kDeadline, "deadline"},
    {DropReason::kCancelled, "cancelled"},
}};

// What became of a request of the engine's own; skipped says nothing about the engine's health.
enum class CanaryResult : uint8_t { kOk, kFailed, kSkipped };
inline constexpr std::array<std::pair<CanaryResult, const char*>, 3> kCanaryResults = {{
    {CanaryResult::kOk, "ok"},
    {CanaryResult::kFailed, "failed"},
    {CanaryResult::kSkipped, "skipped"},
}};

// What ContextPool did in the batches that were sampled.
struct ContextPoolCounters {
  // Sizes of the pooled tokens, one histogram per layer with ContextPool. Made before anybody else
  // sees the counters.
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
  // Of images: files, and what their headers promise.
  Histogram image_bytes{Histogram::SizeBounds()};
  Histogram image_pixels{Histogram::SizeBounds()};
  std::array<std::atomic<uint64_t>, kImageFaults.size()> image_faults{};
  std::array<std::atomic<uint64_t>, kRejectReasons.size()> rejected{};
  std::array<std::atomic<uint64_t>, kDropReasons.size()> dropped{};
  // Inputs answered with the result of another one that was in flight.
  std::atomic<uint64_t> coalesced_inputs{0};
  // Inputs whose result was kept, or was not; both 0 where none are.
  std::atomic<uint64_t> cache_hits{0};
  std::atomic<uint64_t> cache_misses{0};
  std::array<std::atomic<uint64_t>, kCanaryResults.size()> canaries{};
  ContextPoolCounters context_pool;
  // When a batch with a finite result was last computed, or the model warmed up.
  std::atomic<TimePoint> last_computed{};

  void Observe(Stage stage, Duration duration) {
    stage_seconds[static_cast<size_t>(stage)].Observe(Seconds(duration));
  }
  void Count(CanaryResult result) { ++canaries[static_cast<size_t>(result)]; }
  void Count(ImageFault fault) { ++image_faults[static_cast<size_t>(fault)]; }
  void Count(RejectReason reason) { ++rejected[static_cast<size_t>(reason)]; }
  // Inputs that were accepted, or about to be, and are not computed.
  void CountDropped(absl::StatusCode why, int64_t inputs);
  // A request of so many inputs that the batcher did not take.
  void CountRefused(const absl::Status& why, int64_t inputs);
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
  HistogramSnapshot image_bytes;
  HistogramSnapshot image_pixels;
  std::array<uint64_t, kImageFaults.size()> image_faults{};
  std::array<uint64_t, kRejectReasons.size()> rejected{};
  std::array<uint64_t, kDropReasons.size()> dropped{};
  uint64_t coalesced_inputs = 0;
  uint64_t cache_hits = 0;
  uint64_t cache_misses = 0;
  int64_t cache_bytes = 0;
  std::array<int64_t, kPriorities> queue_inputs{};
  std::array<int64_t, kPriorities> queue_tokens{};
  int64_t queue_bytes = 0;
  // What an interactive request without a deadline would wait now.
  Duration expected_wait{};
  std::array<uint64_t, kCanaryResults.size()> canaries{};
  ContextPoolStats context_pool;
};

// The counted part but ContextPool's; what the counters do not know (info, state, queue) is left
// for the caller.
ModelStats CountersSnapshot(const ModelCounters& counters);
ContextPoolStats CountersSnapshot(const ContextPoolCounters& counters);

// Adds what was counted: not the gauges, nor what describes the model.
// REQUIRES: both have the same layers with ContextPool.
void Accumulate(ModelStats& total, const ModelStats& part);

// One device at one moment.
struct DeviceStats {
  std::string name;
  // How long the batch, or the pass of a load, that is being computed has been; 0: none is.
  double step_seconds = 0;
};

struct Stats {
  // Sorted by name, then version. Failed and loading models are listed too.
  std::vector<ModelStats> models;
  // What versions that are no longer listed have counted, so that a name's sums never fall: those
  // of one name with the same layers with ContextPool as one. Only name and layers describe them.
  std::vector<ModelStats> unloaded;
  // Accepted and not yet answered.
  int64_t requests_in_flight = 0;
  // In the engine's order.
  std::vector<DeviceStats> devices;
};

}  // namespace contextpool::engine
