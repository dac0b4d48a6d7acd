// The unit of batching: one input on its way to the device. It carries its own way home, so no
// stage needs to know who waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "engine/base/example.h"
#include "engine/base/packed_batch.h"

namespace contextpool::engine {

struct Submission;
struct Task;

// Receives tasks that are done. Each task is spoken of once, by the thread that is done with it;
// the methods must not block.
class Completion {
 public:
  // The task was computed. `status` speaks of this input alone; if it is OK, `values` are filled.
  virtual void Finish(Task& task, absl::Status status) = 0;

  // So many tasks were not computed, which fails their whole request.
  virtual void Abort(int64_t tasks, absl::Status status) = 0;

 protected:
  ~Completion() = default;
};

// Owned by its request; queues and batches point to it. Only one stage touches it at a time, but
// for `twin` and `queued`, which are the batcher's until it is sealed.
struct Task : Example {  // whose memory lives as long as the request
  OutputSpec output;

  // What the queue weighs.
  int64_t cost = 0;  // tokens: those of a text, or ModelInfo::max_tokens of an image
  int64_t bytes = 0;

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
  // Of a canary, see Request.
  bool canary = false;

  // Of a task in a batch: the first of the tasks with the same input and output that are answered
  // with a copy of its result. Of a twin: the next one.
  Task* twin = nullptr;

  // The queue's own.
  struct Queued {
    Submission* submission = nullptr;
    size_t hash = 0;           // of the input and the output
    int64_t charge = 0;        // tokens that it adds to the work: none while a twin stands for it
    Task* previous = nullptr;  // in the list of twins
    bool waiting = false;
  } queued;
};

}  // namespace contextpool::engine
