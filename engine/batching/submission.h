// All work of one request, queued together or not at all.
#pragma once

#include <cstdint>
#include <span>
#include <stop_token>

#include "engine/base/batch.h"
#include "engine/base/request.h"
#include "engine/base/task.h"
#include "engine/batching/schedule.h"

namespace contextpool::engine {

// Owned by its request; must live until each of its tasks has been finished or aborted. The caller
// fills `tasks` to `completion` and, from ScheduleNode, `deadline` and `promised`: whether the
// request is to be done by then or not accepted, rather than done at all. As a node it stands in
// its queue.
struct Submission : ScheduleNode {
  std::span<Task> tasks;
  Priority priority = Priority::kInteractive;
  // Work whose caller gave up is refused.
  std::stop_token stop;
  Completion* completion = nullptr;

  // The batcher's own.
  QueueId queue = -1;
  ScheduleNode on_device;   // among the requests of all queues
  int64_t tokens = 0;       // of the tasks that wait, twins aside
  double ns_per_token = 0;  // by what was known when it came
  size_t next = 0;          // no task before this one waits
  int64_t waiting = 0;      // tasks
  int64_t dropped = 0;      // tasks that were taken out and are about to be aborted
  Submission* next_dropped = nullptr;
};

// The request that comes first in a queue's order. REQUIRES: there is one.
inline Submission& FirstOf(const Schedule& queue) {
  return static_cast<Submission&>(*queue.first());
}

}  // namespace contextpool::engine
