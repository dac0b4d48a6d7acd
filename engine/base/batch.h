// Tasks that were cut from one queue to be computed together, and where they come from.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/task.h"

namespace contextpool::engine {

// Names one queue of a batcher, one per model version. Given out again once its queue is gone.
using QueueId = int32_t;

struct Batch {
  QueueId queue = -1;
  // In the order of urgency, without twins. The vector's memory is reused from batch to batch.
  std::vector<Task*> tasks;
  int64_t cost = 0;  // tokens
  // How long the step should take by what earlier ones took; 0: nothing is known yet.
  Duration predicted{};
  // How long it took to compute; written by whoever computed it. 0: it failed.
  Duration took{};
};

// Where an executor gets its work.
class BatchSource {
 public:
  // Waits for work and fills `batch`, which must be the last one handed out or empty, with at least
  // one task. False: there will be no more.
  virtual bool NextBatch(Batch& batch) = 0;

  // The batch has been computed, or failed: no twin joins its tasks from now on. To be called once
  // per batch, before any of its tasks is answered.
  virtual void Seal(Batch& batch) = 0;

 protected:
  ~BatchSource() = default;
};

}  // namespace contextpool::engine
