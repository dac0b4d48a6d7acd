// A device at work: with the batcher that decides what it does next and the executor that does it.
#pragma once

#include <cstdint>
#include <thread>

#include "engine/base/clock.h"
#include "engine/base/options.h"
#include "engine/batching/batcher.h"
#include "engine/device/device.h"
#include "engine/execution/executor.h"

namespace contextpool::engine {

// A model is loaded onto one worker and computed there: workers share neither work nor memory, and
// a device that hangs holds up its own models only.
class Worker {
 public:
  // Models on the device, for those who choose where the next one goes.
  struct Load {
    int64_t weight_bytes = 0;
    int64_t models = 0;

    auto operator<=>(const Load&) const = default;
  };

  // Starts the threads. `bounds` are on what waits for all models of this device together. `device`
  // and `clock` must outlive this.
  Worker(Device& device, const QueueBounds& bounds, Clock& clock);
  // Waits for the threads to end. REQUIRES: nothing waits or is computed, and no model is left.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Device& device() { return device_; }
  const Device& device() const { return device_; }
  Batcher& batcher() { return batcher_; }
  Executor& executor() { return executor_; }
  const StepWatch& steps() const { return executor_.steps(); }

  // Used by the loader's thread alone.
  Load load;

 private:
  Device& device_;
  Batcher batcher_;
  Executor executor_;
  // Answers what expires in the queue.
  std::thread expiry_;
};

}  // namespace contextpool::engine
