#include "server/observe/server_metrics.h"

#include <algorithm>

namespace contextpool::server {
namespace {

size_t CodeIndex(absl::StatusCode code) {
  const auto found = std::find(kCountedCodes.begin(), kCountedCodes.end(), code);
  return std::min<size_t>(found - kCountedCodes.begin(), kCountedCodes.size() - 1);
}

void Increment(std::atomic<uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

void Accumulate(ServerMetrics::ByVersion& sum, const ServerMetrics::ByVersion& part) {
  for (size_t endpoint = 0; endpoint < sum.calls.size(); ++endpoint) {
    for (size_t code = 0; code < kCountedCodes.size(); ++code) {
      sum.calls[endpoint][code] += part.calls[endpoint][code];
    }
  }
}

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
  Add(ModelKey("", 0));
  for (const ModelKey& model : models) Add(model);
}

void ServerMetrics::Add(const ModelKey& model) {
  engine::WriterMutexLock lock(mutex_);
  auto& name = by_name_[model.first];
  if (name == nullptr) name = std::make_shared<ByName>();
  auto& version = by_version_[model];
  if (version == nullptr) version = std::make_shared<ByVersion>();
  std::erase(gone_[model.first], model.second);
}

void ServerMetrics::Retire(const ModelKey& model) {
  engine::WriterMutexLock lock(mutex_);
  if (by_version_.count(model) == 0) return;
  std::deque<int64_t>& gone = gone_[model.first];
  std::erase(gone, model.second);
  gone.push_back(model.second);
  if (gone.size() <= kGoneVersions) return;
  const auto oldest = by_version_.extract(ModelKey(model.first, gone.front()));
  gone.pop_front();
  Accumulate(*FindVersion(oldest.key()), *oldest.mapped());
}

ServerMetrics::ByVersion* ServerMetrics::FindVersion(const ModelKey& model) const {
  auto version = by_version_.find(model);
  if (version == by_version_.end()) version = by_version_.lower_bound(ModelKey(model.first, 0));
  const bool found = version != by_version_.end() && version->first.first == model.first;
  return found ? version->second.get() : nullptr;
}

ModelKey ServerMetrics::Key(absl::string_view model, int64_t version) const {
  const ModelKey named(std::string(model), version);
  engine::ReaderMutexLock lock(mutex_);
  if (version != 0) return by_version_.count(named) == 0 ? ModelKey("", 0) : named;
  const auto found = gone_.find(named.first);
  if (found == gone_.end()) return ModelKey("", 0);
  const std::deque<int64_t>& gone = found->second;
  // The highest version serves by default.
  for (auto next = by_version_.upper_bound(ModelKey(named.first, INT64_MAX));
       next != by_version_.begin() && (--next)->first.first == named.first;) {
    if (std::find(gone.begin(), gone.end(), next->first.second) == gone.end()) return next->first;
  }
  return ModelKey("", 0);
}

ServerMetrics::ByName* ServerMetrics::Find(absl::string_view model) const {
  const auto name = by_name_.find(std::string_view(model.data(), model.size()));
  return name == by_name_.end() ? nullptr : name->second.get();
}

void ServerMetrics::CountReceived(Endpoint endpoint, absl::string_view model) {
  engine::ReaderMutexLock lock(mutex_);
  if (ByName* name = Find(model)) Increment(name->received[static_cast<size_t>(endpoint)]);
}

void ServerMetrics::CountCall(const Call& call) {
  const size_t endpoint = static_cast<size_t>(call.endpoint);
  engine::ReaderMutexLock lock(mutex_);
  ByVersion* const version = FindVersion(call.model);
  ByName* const name = Find(call.model.first);
  if (version == nullptr || name == nullptr) return;
  Increment(version->calls[endpoint][CodeIndex(call.code)]);
  const double seconds = engine::Seconds(call.duration);
  name->call_seconds[endpoint]->Observe(seconds);
  if (call.code == absl::StatusCode::kResourceExhausted) name->refusal_seconds.Observe(seconds);
}

void ServerMetrics::CountInputError(absl::string_view model, absl::StatusCode code) {
  engine::ReaderMutexLock lock(mutex_);
  if (ByName* name = Find(model)) Increment(name->input_errors[CodeIndex(code)]);
}

void ServerMetrics::ObserveStage(absl::string_view model, ServerStage stage,
                                 engine::Duration duration) {
  engine::ReaderMutexLock lock(mutex_);
  if (ByName* name = Find(model)) {
    name->stage_seconds[static_cast<size_t>(stage)]->Observe(engine::Seconds(duration));
  }
}

ServerMetrics::Names ServerMetrics::by_name() const {
  engine::ReaderMutexLock lock(mutex_);
  return by_name_;
}

ServerMetrics::Versions ServerMetrics::by_version() const {
  engine::ReaderMutexLock lock(mutex_);
  return by_version_;
}

}  // namespace contextpool::server
