#include "server/observe/server_metrics.h"

#include <algorithm>

namespace contextpool::server {
namespace {

size_t CodeIndex(absl::StatusCode code) {
  const auto found = std::find(kCountedCodes.begin(), kCountedCodes.end(), code);
  return std::min<size_t>(found - kCountedCodes.begin(), kCountedCodes.size() - 1);
}

void Increment(std::atomic<uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

std::vector<std::unique_ptr<engine::Histogram>> TimeHistograms(size_t count) {
  std::vector<std::unique_ptr<engine::Histogram>> histograms;
  for (size_t i = 0; i < count; ++i) {
    histograms.push_back(std::make_unique<engine::Histogram>(engine::Histogram::TimeBounds()));
  }
  return histograms;
}

}  // namespace

ServerMetrics::ByName::ByName()
    : call_seconds(TimeHistograms(kEndpointNames.size())),
      stage_seconds(TimeHistograms(kServerStageNames.size())) {}

ServerMetrics::ServerMetrics(const std::vector<ModelKey>& models) {
  by_version_[ModelKey("", 0)];
  by_name_[""];
  for (const ModelKey& model : models) {
    by_version_[model];
    by_name_[model.first];
  }
}

ModelKey ServerMetrics::Key(absl::string_view model, int64_t version) const {
  const std::string name(model);
  if (version != 0) {
    const auto found = by_version_.find(ModelKey(name, version));
    return found == by_version_.end() ? ModelKey("", 0) : found->first;
  }
  // The highest version serves by default.
  auto next = by_version_.upper_bound(ModelKey(name, INT64_MAX));
  if (next == by_version_.begin()) return ModelKey("", 0);
  --next;
  return next->first.first == name ? next->first : ModelKey("", 0);
}

void ServerMetrics::CountReceived(Endpoint endpoint, absl::string_view model) {
  const auto name = by_name_.find(std::string(model));
  if (name != by_name_.end()) Increment(name->second.received[static_cast<size_t>(endpoint)]);
}

void ServerMetrics::CountCall(const Call& call) {
  const size_t endpoint = static_cast<size_t>(call.endpoint);
  const auto version = by_version_.find(call.model);
  const auto name = by_name_.find(call.model.first);
  if (version == by_version_.end() || name == by_name_.end()) return;
  Increment(version->second.calls[endpoint][CodeIndex(call.code)]);
  name->second.call_seconds[endpoint]->Observe(engine::Seconds(call.duration));
}

void ServerMetrics::CountInputError(absl::string_view model, absl::StatusCode code) {
  const auto name = by_name_.find(std::string(model));
  if (name != by_name_.end()) Increment(name->second.input_errors[CodeIndex(code)]);
}

void ServerMetrics::ObserveStage(absl::string_view model, ServerStage stage,
                                 engine::Duration duration) {
  const auto name = by_name_.find(std::string(model));
  if (name == by_name_.end()) return;
  name->second.stage_seconds[static_cast<size_t>(stage)]->Observe(engine::Seconds(duration));
}

}  // namespace contextpool::server
