// Cuts the work of many callers into batches by a token budget.
//
// The batcher knows what a task costs, how urgent it is and when it expires; it knows no model, no
// device and no wire. Each model has a queue of its own, all queues of a device share one batcher,
// and the device's executor asks for the next batch when it is free, so nothing is committed to a
// batch while it could still be overtaken.
//
// Policy: a queue is ordered by arrival; bulk work stands as if it had arrived kBulkHandicap later,
// which lets interactive work pass but cannot be starved. A batch comes from the queue whose first
// task stands longest and takes tasks in order until the next would exceed the budget. There is no
// waiting for company: an idle device starts at once, a busy one finds what has piled up.
//
// Bounds: a queue never holds more than its max_inputs, max_tokens and max_bytes. A caller waits at
// most for (work ahead of it) / (drain rate) plus the step that is running.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/batch.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/base/options.h"
#include "engine/base/task.h"

namespace contextpool::engine {

// What waits in one queue, by priority.
struct QueueDepth {
  std::array<int64_t, kPriorities> inputs{};
  std::array<int64_t, kPriorities> tokens{};
};

// Thread safe. Many threads enqueue; one executor takes batches. Must be empty when destroyed.
class Batcher {
 public:
  static constexpr Duration kBulkHandicap = std::chrono::seconds(1);

  explicit Batcher(Clock& clock);
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // REQUIRES: batch_token_budget and batch_max_inputs are positive.
  QueueId AddQueue(const QueueOptions& options);

  // Whether a request of so many inputs and bytes would find room now, tokens aside: asked before
  // the work of tokenising. Errors as Enqueue.
  absl::Status CheckRoom(QueueId queue, int64_t inputs, int64_t bytes) const;

  // Queues all of a request's tasks or, on error, none; the batcher points to them until each is
  // handed out by NextBatch or aborted.
  //
  // INVALID_ARGUMENT: larger than the whole queue, or a task larger than a batch.
  // RESOURCE_EXHAUSTED: no room now; carries a RetryDelay. UNAVAILABLE: closed.
  absl::Status Enqueue(QueueId queue, std::span<Task> tasks);

  // Waits for work and fills `batch` with at least one task. Tasks whose deadline has passed are
  // aborted with DEADLINE_EXCEEDED instead of handed out, cancelled ones with CANCELLED. False:
  // closed and empty.
  bool NextBatch(Batch& batch);

  // Refuses new work from now on; NextBatch hands out what is queued.
  void Close();

  QueueDepth Depth(QueueId queue) const;

 private:
  // What a request puts into a queue.
  struct Load {
    int64_t inputs = 0;
    int64_t tokens = 0;
    int64_t bytes = 0;
    // Tokens of the largest task.
    int64_t largest = 0;
  };
  static Load LoadOf(std::span<const Task> tasks);

  // First in, first out, linked through Task::next.
  struct TaskList {
    Task* first = nullptr;
    Task* last = nullptr;
    void Push(Task& task);
    Task& Pop();
  };

  struct Queue {
    QueueOptions options;
    std::array<TaskList, kPriorities> waiting;
    QueueDepth depth;
    int64_t inputs = 0;
    int64_t tokens = 0;
    int64_t bytes = 0;
  };

  // The class whose first task stands longest, or null if the queue is empty.
  static TaskList* Head(Queue& queue);
  static TimePoint Standing(const Task& task);

  absl::Status CheckRoom(const Queue& queue, const Load& load) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  QueueId MostUrgent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tasks that nobody waits for any more.
  struct Dropped {
    TaskList expired;
    TaskList cancelled;
  };

  // Moves the next tasks of a queue into the batch or out of the way.
  void Cut(Queue& queue, Batch& batch, Dropped& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Abort(TaskList& tasks, const absl::Status& status);
  static Task& Remove(Queue& queue, TaskList& list);
  void NoteDrained(const Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Clock& clock_;
  mutable Mutex mutex_;
  CondVar work_;
  std::vector<std::unique_ptr<Queue>> queues_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;

  // Tokens per second that leave, smoothed over steps; 0 until the first step ended.
  double drain_rate_ ABSL_GUARDED_BY(mutex_) = 0;
  TimePoint last_taken_ ABSL_GUARDED_BY(mutex_){};
  int64_t last_cost_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace contextpool::engine
