// The unit of batching: one input on its way to the device. It carries its own way home, so no
// stage needs to know who waits.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "engine/base/packed_batch.h"
#include "engine/base/request.h"

namespace contextpool::engine {

struct Task;

// Receives tasks that are done. One of its methods is called once per task, from the thread that
// is done with it; they must not block.
class Completion {
 public:
  // The task was computed. `status` speaks of this input alone; if it is OK, `values` are filled.
  virtual void Finish(Task& task, absl::Status status) = 0;

  // The task was not computed, which fails its whole request.
  virtual void Abort(Task& task, absl::Status status) = 0;

 protected:
  ~Completion() = default;
};

// Owned by its request; queues and batches point to it. Only one stage touches it at a time.
struct Task {
  // The input. Lives as long as the request.
  std::span<const int32_t> token_ids;
  OutputSpec output;

  // What the queue weighs.
  int64_t cost = 0;  // tokens
  int64_t bytes = 0;
  Priority priority = Priority::kInteractive;
  TimePoint deadline = TimePoint::max();
  // The request's own; null or empty: never.
  const std::function<bool()>* cancelled = nullptr;

  // Written by the stages it passes. Tasks of one batch have the same `taken`.
  TimePoint enqueued{};
  TimePoint taken{};
  Duration compute{};

  // The way home: room for the numbers ([embedding_dimensions] or [labels]) and the completion.
  std::span<float> values;
  // Room for [context_pool_layers, 2, tokens], see Explanation; empty unless output.explain.
  std::span<float> context_pool;
  Completion* completion = nullptr;
  int32_t index = 0;

  // Link of the queue that holds the task.
  Task* next = nullptr;
};

}  // namespace contextpool::engine
