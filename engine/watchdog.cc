#include "engine/watchdog.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace contextpool::engine {

Watchdog::Watchdog(Duration canary_interval, std::vector<WatchedDevice> devices, Clock& clock,
                   Canaries::Parts parts)
    : devices_(std::move(devices)), clock_(clock) {
  if (canary_interval > Duration::zero()) {
    canaries_.emplace(canary_interval, clock, std::move(parts));
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
  EngineHealth worst;
  for (const WatchedDevice& device : devices_) {
    EngineHealth health = device.steps.Health(clock_.Now());
    if (!health.healthy) {
      health.reason = absl::StrCat("device ", device.name, ": ", health.reason);
    }
    worst = Worse(std::move(worst), std::move(health));
  }
  return canaries_ ? Worse(std::move(worst), canaries_->Health()) : worst;
}

}  // namespace contextpool::engine
