#include "server/observe/exit_guard.h"

#include <utility>

namespace contextpool::server {

ExitGuard::ExitGuard(const engine::Engine& engine, engine::Duration patience, engine::Clock& clock,
                     Logger& logger, Exit exit)
    : engine_(engine),
      patience_(patience),
      clock_(clock),
      logger_(logger),
      exit_(std::move(exit)) {}

ExitGuard::~ExitGuard() {
  {
    engine::MutexLock lock(mutex_);
    stop_ = true;
    stopped_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ExitGuard::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void ExitGuard::Loop() {
  while (true) {
    const engine::TimePoint next = clock_.Now() + kLookInterval;
    Look();
    engine::MutexLock lock(mutex_);
    while (!stop_ && clock_.Now() < next) clock_.WaitUntil(stopped_, mutex_, next);
    if (stop_) return;
  }
}

void ExitGuard::NoteChange(const engine::EngineHealth& health) {
  if (health.healthy == healthy_) return;
  healthy_ = health.healthy;
  if (healthy_) {
    logger_.Log(LogLevel::kInfo, "the engine is healthy again",
                {{"seconds", engine::Seconds(clock_.Now() - unhealthy_since_)}});
    return;
  }
  unhealthy_since_ = health.since;
  logger_.Log(LogLevel::kError, "the engine is unhealthy", {{"reason", health.reason}});
}

void ExitGuard::Look() {
  const engine::EngineHealth health = engine_.Health();
  NoteChange(health);
  if (health.healthy || patience_ == engine::Duration::zero()) return;
  const engine::Duration unhealthy = clock_.Now() - unhealthy_since_;
  if (health.can_recover && unhealthy < patience_) return;
  logger_.Log(LogLevel::kError,
              health.can_recover ? "the engine was unhealthy for --unhealthy_exit; ending"
                                 : "the engine cannot recover; ending",
              {{"reason", health.reason}, {"seconds", engine::Seconds(unhealthy)}});
  exit_();
}

}  // namespace contextpool::server
