#include "engine/watchdog.h"

#include <utility>

namespace contextpool::engine {

Watchdog::Watchdog(Duration canary_interval, const StepWatch& steps, Clock& clock,
                   Canaries::Parts parts)
    : steps_(steps), clock_(clock) {
  if (canary_interval > Duration::zero()) {
    canaries_.emplace(canary_interval, steps, clock, std::move(parts));
  }
}

Watchdog::~Watchdog() { Stop(); }

void Watchdog::Start() {
  if (canaries_) thread_ = std::thread([this] { Loop(); });
}

void Watchdog::Stop() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
    stopped_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Watchdog::Loop() {
  TimePoint next = clock_.Now();
  while (true) {
    {
      MutexLock lock(mutex_);
      while (!stop_ && clock_.Now() < next) clock_.WaitUntil(stopped_, mutex_, next);
      if (stop_) return;
    }
    next = canaries_->SendDue();
  }
}

EngineHealth Watchdog::Health() const {
  EngineHealth health = steps_.Health(clock_.Now());
  return canaries_ ? Worse(std::move(health), canaries_->Health()) : health;
}

}  // namespace contextpool::engine
