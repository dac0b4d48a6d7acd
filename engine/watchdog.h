// Judges whether the engine can still answer, and keeps asking while nobody else does.
#pragma once

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/health.h"
#include "engine/base/mutex.h"
#include "engine/canaries.h"
#include "engine/execution/step_watch.h"

namespace contextpool::engine {

// A device of the engine's and what its executor is doing, which must outlive this.
struct WatchedDevice {
  std::string name;
  const StepWatch& steps;
};

// Thread safe. Health is judged when it is asked for, so a stuck executor is known from the moment
// of its limit on; the thread only sends canaries and sleeps until the next is due. One device that
// does not answer makes the engine unhealthy.
class Watchdog {
 public:
  // `canary_interval` of 0: no canaries, no thread. `clock` must outlive this, and this the answers
  // to its canaries.
  Watchdog(Duration canary_interval, std::vector<WatchedDevice> devices, Clock& clock,
           Canaries::Parts parts);
  ~Watchdog();

  // Starts, and ends, sending canaries. Those under way are still answered.
  void Start();
  void Stop();

  EngineHealth Health() const;

 private:
  void Loop();

  const std::vector<WatchedDevice> devices_;
  Clock& clock_;
  std::optional<Canaries> canaries_;
  Mutex mutex_;
  CondVar stopped_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace contextpool::engine
