// Time as a dependency, so that every rule about time is tested without sleeping.
#pragma once

#include <chrono>

#include "engine/base/mutex.h"

namespace contextpool::engine {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

constexpr double Seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// Thread safe.
class Clock {
 public:
  virtual ~Clock() = default;

  virtual TimePoint Now() const = 0;

  // Waits on `condition` until it is notified or this clock reaches `deadline`. May return early.
  virtual void WaitUntil(CondVar& condition, Mutex& mutex, TimePoint deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) = 0;

  // The machine's monotonic clock. Lives forever.
  static Clock& Real();
};

}  // namespace contextpool::engine
