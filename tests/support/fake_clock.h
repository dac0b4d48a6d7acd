// A clock that moves only when a test says so.
#pragma once

#include "engine/base/clock.h"

namespace contextpool::testing {

class FakeClock : public engine::Clock {
 public:
  engine::TimePoint Now() const override {
    engine::MutexLock lock(mutex_);
    return now_;
  }

  // Waits for a notification alone: returning early is allowed, so tests that advance the clock
  // also notify.
  void WaitUntil(engine::CondVar& condition, engine::Mutex& mutex,
                 engine::TimePoint deadline) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (Now() < deadline) condition.Wait(mutex);
  }

  void Advance(engine::Duration by) {
    engine::MutexLock lock(mutex_);
    now_ += by;
  }

 private:
  mutable engine::Mutex mutex_;
  engine::TimePoint now_ ABSL_GUARDED_BY(mutex_){std::chrono::hours(1)};
};

}  // namespace contextpool::testing
