#include "server/observe/health.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace contextpool::server {
namespace {

constexpr std::chrono::milliseconds kPollLoading{20};
constexpr std::chrono::milliseconds kPollLoaded{1000};

const char* StateName(engine::ModelState state) {
  switch (state) {
    case engine::ModelState::kLoading:
      return "loading";
    case engine::ModelState::kReady:
      return "ready";
    case engine::ModelState::kFailed:
      return "failed";
    case engine::ModelState::kUnloading:
      return "unloading";
  }
  return "failed";
}

bool AnyReady(const std::vector<engine::ModelStatus>& models) {
  return std::any_of(models.begin(), models.end(), [](const engine::ModelStatus& model) {
    return model.state == engine::ModelState::kReady;
  });
}

bool AnyLoading(const std::vector<engine::ModelStatus>& models) {
  return std::any_of(models.begin(), models.end(), [](const engine::ModelStatus& model) {
    return model.state == engine::ModelState::kLoading;
  });
}

}  // namespace

HealthMonitor::HealthMonitor(const engine::Engine& engine)
    : engine_(engine), told_(Current(Phase::kServing)), poller_([this] { Poll(); }) {}

HealthMonitor::~HealthMonitor() {
  {
    engine::MutexLock lock(mutex_);
    quit_ = true;
  }
  changed_.NotifyAll();
  poller_.join();
}

HealthMonitor::State HealthMonitor::Current(Phase phase) const {
  State state{phase,
              {{"", false}, {kEmbeddingServiceName, false}, {kClassificationServiceName, false}}};
  Services& services = state.services;
  const bool answers = phase == Phase::kServing && engine_.Health().healthy;
  for (const engine::ModelStatus& model : engine_.ListModels()) {
    const bool serves = answers && model.state == engine::ModelState::kReady;
    services[absl::StrCat("model:", model.info->name)] |= serves;
    services[""] |= serves;
    services[kEmbeddingServiceName] |= serves;
    services[kClassificationServiceName] |= serves && model.info->classifies();
  }
  return state;
}

std::optional<bool> HealthMonitor::Serving(const std::string& service) const {
  const Services services = Current(phase()).services;
  const auto found = services.find(service);
  if (found == services.end()) return std::nullopt;
  return found->second;
}

void HealthMonitor::SetPhase(Phase phase) {
  {
    engine::MutexLock lock(mutex_);
    phase_ = std::max(phase_, phase);
    ++changes_;
  }
  changed_.NotifyAll();
}

HealthMonitor::Phase HealthMonitor::phase() const {
  engine::MutexLock lock(mutex_);
  return phase_;
}

int64_t HealthMonitor::AddListener(Listener listener) {
  engine::MutexLock lock(mutex_);
  Tell(Current(phase_));  // what is known may be a poll old
  listener(told_);
  listeners_.emplace(next_listener_, std::move(listener));
  return next_listener_++;
}

void HealthMonitor::RemoveListener(int64_t id) {
  engine::MutexLock lock(mutex_);
  listeners_.erase(id);
}

void HealthMonitor::Tell(State now) {
  if (now == told_) return;
  told_ = std::move(now);
  ++changes_;
  for (const auto& [id, listener] : listeners_) listener(told_);
}

void HealthMonitor::Poll() {
  engine::MutexLock lock(mutex_);
  while (!quit_) {
    const Phase phase = phase_;
    const uint64_t changes = changes_;
    mutex_.Unlock();
    State now = Current(phase);
    const bool loading = AnyLoading(engine_.ListModels());
    mutex_.Lock();
    // What was found may be older than what was told meanwhile.
    if (quit_ || changes_ != changes) continue;
    Tell(std::move(now));
    const auto wait = loading ? kPollLoading : kPollLoaded;
    changed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + wait);
  }
}

bool HealthMonitor::ModelsReady(const std::vector<engine::ModelStatus>& models) const {
  if (!AnyReady(models)) return false;
  if (!AnyLoading(models)) started_ = true;
  return started_;
}

bool HealthMonitor::Ready() const {
  return phase() == Phase::kServing && engine_.Health().healthy &&
         ModelsReady(engine_.ListModels());
}

std::string HealthMonitor::ReadinessJson() const {
  const Phase phase = this->phase();
  const std::vector<engine::ModelStatus> models = engine_.ListModels();
  const engine::EngineHealth health = engine_.Health();
  const bool ready = phase == Phase::kServing && health.healthy && ModelsReady(models);
  nlohmann::ordered_json json = {
      {"ready", ready}, {"draining", phase != Phase::kServing}, {"healthy", health.healthy}};
  if (!health.healthy) json["reason"] = health.reason;
  json["models"] = nlohmann::ordered_json::array();
  for (const engine::ModelStatus& model : models) {
    nlohmann::ordered_json entry = {{"name", model.info->name},
                                    {"version", model.info->version},
                                    {"state", StateName(model.state)}};
    if (!model.reason.empty()) entry["reason"] = model.reason;
    json["models"].push_back(std::move(entry));
  }
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

absl::Status HealthMonitor::Alive() const {
  const engine::EngineHealth health = engine_.Health();
  if (health.can_recover) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the engine cannot recover: ", health.reason));
}

}  // namespace contextpool::server
