// Ends the process when its engine will not get well by itself.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/engine.h"
#include "server/observe/log.h"

namespace contextpool::server {

// Looks at the engine's health every kLookInterval, from a thread of its own, and logs when it
// changes. A supervisor starts a process again that ended, but leaves one alone that hangs.
class ExitGuard {
 public:
  static constexpr engine::Duration kLookInterval = std::chrono::seconds(1);

  // Does not return but in tests.
  using Exit = std::function<void()>;

  // Calls `exit`, after logging why, once the engine cannot recover or has been unhealthy for
  // `patience`; 0: never. All must outlive this.
  ExitGuard(const engine::Engine& engine, engine::Duration patience, engine::Clock& clock,
            Logger& logger, Exit exit);
  ~ExitGuard();

  void Start();

  // Looks once. For the guard's thread, or for tests that do not start it.
  void Look();

 private:
  void Loop();
  void NoteChange(const engine::EngineHealth& health);

  const engine::Engine& engine_;
  const engine::Duration patience_;
  engine::Clock& clock_;
  Logger& logger_;
  const Exit exit_;
  // What the last look saw, whatever the reasons were since.
  bool healthy_ = true;
  engine::TimePoint unhealthy_since_{};

  engine::Mutex mutex_;
  engine::CondVar stopped_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace contextpool::server
