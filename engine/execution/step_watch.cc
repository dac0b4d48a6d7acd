#include "engine/execution/step_watch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace contextpool::engine {

void StepWatch::Begin(TimePoint now, Duration predicted) {
  MutexLock lock(mutex_);
  step_ = {"a batch has been computed", now, std::max(kShortestLimit, kFactor * predicted)};
}

void StepWatch::BeginLoad(TimePoint now) {
  MutexLock lock(mutex_);
  step_ = {"the pass of a load has been computed", now, kLoadLimit};
}

void StepWatch::End() {
  MutexLock lock(mutex_);
  step_.reset();
  ++ended_;
}

void StepWatch::Die(TimePoint now, std::string why) {
  MutexLock lock(mutex_);
  step_.reset();
  if (life_.healthy) life_ = {false, false, std::move(why), now};
}

EngineHealth StepWatch::Health(TimePoint now) const {
  MutexLock lock(mutex_);
  if (!life_.healthy || !step_ || now < step_->begin + step_->limit) return life_;
  return {false, true,
          absl::StrCat(step_->what, " for longer than ", Seconds(step_->limit),
                       " s; the device may hang"),
          step_->begin + step_->limit};
}

std::optional<Duration> StepWatch::Running(TimePoint now) const {
  MutexLock lock(mutex_);
  if (!step_) return std::nullopt;
  return now - step_->begin;
}

uint64_t StepWatch::ended() const {
  MutexLock lock(mutex_);
  return ended_;
}

}  // namespace contextpool::engine
