// The models of an engine for tests: listed and loaded when told, without anything in them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "engine/engine.h"

namespace contextpool::engine {

// The part of an engine that loads and lists. Thread safe.
class FakeModels : public Engine {
 public:
  // `edit` changes what is known of the model before anybody can see it.
  const ModelInfo& AddModel(
      const std::string& name, std::vector<std::string> labels,
      const std::function<void(ModelInfo&)>& edit = [](ModelInfo&) {}) {
    const auto info = NewInfo({name, 1}, std::move(labels));
    edit(*info);
    MutexLock lock(mutex_);
    models_[{name, 1}] = {info, ModelState::kReady, "", 0.5};
    return *info;
  }

  void SetState(const std::string& name, ModelState state, const std::string& reason) {
    MutexLock lock(mutex_);
    models_[{name, 1}].state = state;
    models_[{name, 1}].reason = reason;
  }

  void WaitUntilLoaded() override {}

  // Lists the version as ready or, as FailLoadsWith said, as failed unless it is ready.
  void Load(ModelSpec spec, LoadCallback done) override {
    {
      MutexLock lock(mutex_);
      ++loads_;
      changed_.NotifyAll();
      if (hold_loads_) {
        held_loads_.emplace_back([this, spec = std::move(spec), done = std::move(done)]() mutable {
          FinishLoad(spec, std::move(done));
        });
        return;
      }
    }
    FinishLoad(spec, std::move(done));
  }

  // Loads wait for ReleaseLoads.
  void HoldLoads() {
    MutexLock lock(mutex_);
    hold_loads_ = true;
  }
  void ReleaseLoads() {
    std::vector<absl::AnyInvocable<void()>> waiting;
    {
      MutexLock lock(mutex_);
      hold_loads_ = false;
      waiting.swap(held_loads_);
    }
    for (auto& load : waiting) load();
  }
  // Blocks until so many loads have been asked for.
  void WaitForLoads(int64_t count) {
    MutexLock lock(mutex_);
    while (loads_ < count) changed_.Wait(mutex_);
  }

  void Unload(absl::string_view name, int64_t version, UnloadCallback done) override {
    bool found = false;
    {
      MutexLock lock(mutex_);
      found = models_.erase({std::string(name), version}) > 0;
    }
    done(found ? absl::OkStatus() : absl::NotFoundError("no such version"));
  }

  // Loads asked for so far.
  int64_t loads() const {
    MutexLock lock(mutex_);
    return loads_;
  }

  void FailLoadsWith(absl::Status status) {
    MutexLock lock(mutex_);
    load_failure_ = std::move(status);
  }

  std::vector<ModelStatus> ListModels() const override {
    MutexLock lock(mutex_);
    std::vector<ModelStatus> result;
    for (const auto& [name, status] : models_) result.push_back(status);
    return result;
  }

  absl::StatusOr<ModelStatus> GetModel(absl::string_view name, int64_t version) const override {
    MutexLock lock(mutex_);
    const ModelStatus* found = nullptr;
    for (const auto& [key, status] : models_) {
      if (key.first != name || (version != 0 && version != key.second)) continue;
      if (found == nullptr || status.state == ModelState::kReady) found = &status;
    }
    if (found != nullptr) return *found;
    return absl::NotFoundError(absl::StrCat("model \"", name, "\" is unknown"));
  }

 private:
  using Key = std::pair<std::string, int64_t>;  // name and version

  static std::shared_ptr<ModelInfo> NewInfo(const Key& key, std::vector<std::string> labels) {
    auto info = std::make_shared<ModelInfo>();
    std::tie(info->name, info->version) = key;
    info->architecture = "Fake";
    info->embedding_dimensions = 4;
    info->max_tokens = 8;
    info->device = "cpu";
    info->labels = std::move(labels);
    if (info->classifies()) info->problem_type = ProblemType::kSingleLabel;
    return info;
  }

  void FinishLoad(const ModelSpec& spec, LoadCallback done) {
    const Key key(spec.name, spec.version);
    absl::Status failure;
    {
      MutexLock lock(mutex_);
      failure = load_failure_;
      if (!failure.ok() && models_.count(key) == 0) {
        models_[key] = {NewInfo(key, {}), ModelState::kFailed, std::string(failure.message()), 0};
      }
      if (failure.ok()) models_[key] = {NewInfo(key, {}), ModelState::kReady, "", 0.5};
    }
    if (!failure.ok()) return done(failure);
    done(GetModel(spec.name, spec.version));
  }

  mutable Mutex mutex_;
  CondVar changed_;
  std::map<Key, ModelStatus> models_ ABSL_GUARDED_BY(mutex_);
  absl::Status load_failure_ ABSL_GUARDED_BY(mutex_);
  bool hold_loads_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<absl::AnyInvocable<void()>> held_loads_ ABSL_GUARDED_BY(mutex_);
  int64_t loads_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace contextpool::engine
