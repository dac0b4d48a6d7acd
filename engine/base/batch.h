// Tasks that were cut from one queue to be computed together.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/task.h"

namespace contextpool::engine {

// Names one queue of a batcher: one queue per model.
using QueueId = int32_t;

struct Batch {
  QueueId queue = -1;
  // In the order of the queue. The vector's memory is reused from batch to batch.
  std::vector<Task*> tasks;
  int64_t cost = 0;  // tokens
};

}  // namespace contextpool::engine
