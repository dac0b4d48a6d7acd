// What an executor's thread is doing, for whoever wants to know whether it still does it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/base/clock.h"
#include "engine/base/health.h"
#include "engine/base/mutex.h"

namespace contextpool::engine {

// Thread safe. Who computes tells, others ask; nobody is called.
//
// A batch is overdue once it has run for the larger of kShortestLimit and kFactor times what was
// predicted: longer than any may take on a machine that is merely busy. Of the passes that models
// are loaded with nothing can be predicted: each is overdue after kLoadLimit, longer than a machine
// that can serve the model takes for the largest batch.
class StepWatch {
 public:
  static constexpr Duration kShortestLimit = std::chrono::seconds(5);
  static constexpr int kFactor = 10;
  static constexpr Duration kLoadLimit = std::chrono::minutes(5);

  // A step at a time. `predicted` of 0: nothing is known.
  void Begin(TimePoint now, Duration predicted);
  // The same, of a pass that a model is loaded with.
  void BeginLoad(TimePoint now);
  void End();
  // Nothing will be computed any more, although there may be work left. The first reason stays.
  void Die(TimePoint now, std::string why);

  // Unhealthy from the moment on at which the running step is overdue until it ends, and for good
  // once it died.
  EngineHealth Health(TimePoint now) const;

  // How long the running step has been running; unset: none is.
  std::optional<Duration> Running(TimePoint now) const;
  // Steps that ended so far.
  uint64_t ended() const;

 private:
  struct Step {
    const char* what;
    TimePoint begin;
    Duration limit;
  };

  mutable Mutex mutex_;
  std::optional<Step> step_ ABSL_GUARDED_BY(mutex_);
  uint64_t ended_ ABSL_GUARDED_BY(mutex_) = 0;
  // Unhealthy once it died.
  EngineHealth life_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace contextpool::engine
