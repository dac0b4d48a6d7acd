// Requests of the engine's own that show whether idle models would answer.
//
// A model that has computed nothing for an interval is asked for the embedding of a few token ids
// or of a tiny image on the way that callers' requests take: queue, batch, device, answer. Nothing
// of it is counted as traffic, and no cached answer is taken for it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "engine/base/health.h"
#include "engine/base/model_info.h"
#include "engine/base/mutex.h"
#include "engine/base/stats.h"
#include "engine/engine.h"
#include "engine/execution/step_watch.h"

namespace contextpool::engine {

// A model that is ready, as its canaries see it.
struct CanaryModel {
  std::shared_ptr<const ModelInfo> info;
  // Tell when it last computed a batch, and count its canaries.
  std::shared_ptr<ModelCounters> counters;
  // Of its device.
  const StepWatch* steps = nullptr;
};

// Thread safe, but for SendDue, which one thread calls.
class Canaries {
 public:
  // A canary that has no answer after this time has failed, unless other work was computed
  // meanwhile: who is busy is not ill.
  static constexpr Duration kAnswerLimit = StepWatch::kShortestLimit;
  // So many failures of one model in a row are no accident.
  static constexpr int kMostFailures = 3;

  struct Parts {
    // Called without a lock held.
    std::function<std::vector<CanaryModel>()> ready_models;
    // As Engine::Infer.
    std::function<void(Request, Engine::Callback)> infer;
    // Images decoded so far.
    std::function<uint64_t()> decoded = [] { return uint64_t{0}; };
  };

  // `clock` and what models refer to must outlive this, and this the answers. REQUIRES: `interval`
  // > 0.
  Canaries(Duration interval, Clock& clock, Parts parts);

  // Asks every model that is due. When to look again.
  TimePoint SendDue();

  // Healthy while no model's last canary failed; a batch of callers that was computed since then
  // counts as much as a canary. After kMostFailures in a row it cannot recover.
  EngineHealth Health() const;

 private:
  using Key = std::pair<std::string, int64_t>;  // name and version
  struct State {
    bool waiting = false;
    TimePoint sent{};
    // Of the device that was asked; after a reload another copy may live elsewhere.
    std::string device;
    const StepWatch* steps = nullptr;
    // Its steps that had ended and images that had been decoded then.
    uint64_t done_before = 0;

    int failures = 0;  // in a row
    TimePoint first_failure{};
    TimePoint last_failure{};
    std::string reason;
  };

  static Key KeyOf(const CanaryModel& model) { return {model.info->name, model.info->version}; }
  // The models that are due, marked as asked.
  std::vector<CanaryModel> TakeDue(const std::vector<CanaryModel>& models, TimePoint now,
                                   TimePoint& next) ABSL_LOCKS_EXCLUDED(mutex_);
  void Send(const CanaryModel& model, TimePoint now);
  void Answered(const CanaryModel& model, TimePoint sent, const absl::Status& status)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Steps of a device that have ended and images that have been decoded.
  uint64_t WorkDone(const StepWatch& steps) const { return steps.ended() + parts_.decoded(); }
  // Whether others kept busy what the waiting canary waits for, or a step runs, which is judged
  // then.
  bool BusySinceSent(const State& state, TimePoint now) const {
    return WorkDone(*state.steps) > state.done_before || state.steps->Running(now);
  }
  CanaryResult Judge(const State& state, const absl::Status& status, TimePoint now) const;
  // Why the model's canaries say that it would not answer.
  EngineHealth HealthOf(const CanaryModel& model, const State& state, TimePoint now) const;

  const Duration interval_;
  Clock& clock_;
  const Parts parts_;
  mutable Mutex mutex_;
  // Of ready models only.
  std::map<Key, State> states_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace contextpool::engine
