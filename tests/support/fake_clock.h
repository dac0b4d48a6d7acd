// A clock that moves only when a test says so.
#pragma once

#include <list>
#include <vector>

#include "engine/base/clock.h"

namespace contextpool::testing {

class FakeClock : public engine::Clock {
 public:
  engine::TimePoint Now() const override {
    engine::MutexLock lock(mutex_);
    return now_;
  }

  void WaitUntil(engine::CondVar& condition, engine::Mutex& mutex,
                 engine::TimePoint deadline) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::list<Waiter>::iterator self;
    {
      engine::MutexLock lock(mutex_);
      if (now_ >= deadline) return;
      self = waiters_.insert(waiters_.end(), {condition, mutex});
    }
    condition.Wait(mutex);
    // Advance may be on its way to this waiter, and needs the caller's mutex to get there.
    mutex.Unlock();
    {
      engine::MutexLock lock(mutex_);
      while (self->visitors > 0) left_.Wait(mutex_);
      waiters_.erase(self);
    }
    mutex.Lock();
  }

  // Moves time and wakes whoever waits for it. Not to be called with a waiter's mutex held.
  void Advance(engine::Duration by) {
    std::vector<Waiter*> woken;
    {
      engine::MutexLock lock(mutex_);
      now_ += by;
      for (Waiter& waiter : waiters_) {
        ++waiter.visitors;
        woken.push_back(&waiter);
      }
    }
    for (Waiter* waiter : woken) {
      {
        engine::MutexLock lock(waiter->mutex);
        waiter->condition.NotifyAll();
      }
      engine::MutexLock lock(mutex_);
      --waiter->visitors;
      left_.NotifyAll();
    }
  }

 private:
  struct Waiter {
    engine::CondVar& condition;
    engine::Mutex& mutex;
    // Calls of Advance that still want to wake it.
    int visitors = 0;
  };

  mutable engine::Mutex mutex_;
  engine::CondVar left_;
  engine::TimePoint now_ ABSL_GUARDED_BY(mutex_){std::chrono::hours(1)};
  std::list<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace contextpool::testing
