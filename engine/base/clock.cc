#include "engine/base/clock.h"

namespace contextpool::engine {
namespace {

class RealClock : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }

  void WaitUntil(CondVar& condition, Mutex& mutex, TimePoint deadline) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    condition.WaitUntil(mutex, deadline);
  }
};

}  // namespace

Clock& Clock::Real() {
  static RealClock clock;
  return clock;
}

}  // namespace contextpool::engine
