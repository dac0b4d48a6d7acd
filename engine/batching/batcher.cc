#include "engine/batching/batcher.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/retry.h"

namespace contextpool::engine {
namespace {

// Weight of the newest step in the smoothed drain rate.
constexpr double kSmoothing = 0.2;
constexpr Duration kShortestRetry = std::chrono::milliseconds(10);
constexpr Duration kLongestRetry = std::chrono::seconds(30);

size_t Index(Priority priority) { return static_cast<size_t>(priority); }

absl::Status CheckBound(int64_t waiting, int64_t arriving, int64_t bound, const char* unit) {
  if (arriving > bound) {
    return absl::InvalidArgumentError(absl::StrCat("inputs: the request holds ", arriving, " ",
                                                   unit, ", more than the whole queue (", bound,
                                                   "); split it"));
  }
  if (waiting + arriving > bound) {
    return absl::ResourceExhaustedError(absl::StrCat("the model's queue is full: ", waiting, " of ",
                                                     bound, " ", unit, " are waiting"));
  }
  return absl::OkStatus();
}

}  // namespace

void Batcher::TaskList::Push(Task& task) {
  task.next = nullptr;
  (last == nullptr ? first : last->next) = &task;
  last = &task;
}

Task& Batcher::TaskList::Pop() {
  Task& task = *first;
  first = task.next;
  if (first == nullptr) last = nullptr;
  task.next = nullptr;
  return task;
}

Batcher::Batcher(Clock& clock) : clock_(clock) {}

QueueId Batcher::AddQueue(const QueueOptions& options) {
  assert(options.batch_token_budget > 0 && options.batch_max_inputs > 0);
  MutexLock lock(mutex_);
  queues_.push_back(std::make_unique<Queue>());
  queues_.back()->options = options;
  return static_cast<QueueId>(queues_.size()) - 1;
}

Batcher::Load Batcher::LoadOf(std::span<const Task> tasks) {
  Load load;
  load.inputs = static_cast<int64_t>(tasks.size());
  for (const Task& task : tasks) {
    load.tokens += task.cost;
    load.bytes += task.bytes;
    load.largest = std::max(load.largest, task.cost);
  }
  return load;
}

absl::Status Batcher::CheckRoom(QueueId queue, int64_t inputs, int64_t bytes) const {
  MutexLock lock(mutex_);
  return CheckRoom(*queues_[queue], {inputs, 0, bytes, 0});
}

absl::Status Batcher::CheckRoom(const Queue& queue, const Load& load) const {
  const QueueOptions& bound = queue.options;
  if (load.largest > bound.batch_token_budget) {
    return absl::InvalidArgumentError(absl::StrCat("inputs: one has ", load.largest,
                                                   " tokens, more than a batch holds (",
                                                   bound.batch_token_budget, ")"));
  }
  absl::Status status = CheckBound(queue.inputs, load.inputs, bound.max_inputs, "inputs");
  if (status.ok()) status = CheckBound(queue.tokens, load.tokens, bound.max_tokens, "tokens");
  if (status.ok()) status = CheckBound(queue.bytes, load.bytes, bound.max_bytes, "bytes");
  if (!absl::IsResourceExhausted(status)) return status;
  const double wait_s = drain_rate_ > 0 ? static_cast<double>(queue.tokens) / drain_rate_ : 0;
  const auto wait = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::min(wait_s, Seconds(kLongestRetry))));
  SetRetryDelay(status, std::max(wait, kShortestRetry));
  return status;
}

absl::Status Batcher::Enqueue(QueueId id, std::span<Task> tasks) {
  MutexLock lock(mutex_);
  if (closed_) return absl::UnavailableError("the server is draining; ask another replica");
  Queue& queue = *queues_[id];
  if (absl::Status status = CheckRoom(queue, LoadOf(tasks)); !status.ok()) return status;
  const TimePoint now = clock_.Now();
  for (Task& task : tasks) {
    const size_t priority = Index(task.priority);
    task.enqueued = now;
    queue.waiting[priority].Push(task);
    ++queue.depth.inputs[priority];
    queue.depth.tokens[priority] += task.cost;
    ++queue.inputs;
    queue.tokens += task.cost;
    queue.bytes += task.bytes;
  }
  // Under the lock: once it is free the work may be answered and this batcher gone.
  work_.NotifyOne();
  return absl::OkStatus();
}

TimePoint Batcher::Standing(const Task& task) {
  return task.priority == Priority::kBulk ? task.enqueued + kBulkHandicap : task.enqueued;
}

Batcher::TaskList* Batcher::Head(Queue& queue) {
  TaskList* head = nullptr;
  for (TaskList& list : queue.waiting) {
    if (list.first == nullptr) continue;
    if (head == nullptr || Standing(*list.first) < Standing(*head->first)) head = &list;
  }
  return head;
}

QueueId Batcher::MostUrgent() {
  QueueId urgent = -1;
  TimePoint longest = TimePoint::max();
  for (size_t i = 0; i < queues_.size(); ++i) {
    const TaskList* head = Head(*queues_[i]);
    if (head == nullptr || Standing(*head->first) >= longest) continue;
    longest = Standing(*head->first);
    urgent = static_cast<QueueId>(i);
  }
  return urgent;
}

Task& Batcher::Remove(Queue& queue, TaskList& list) {
  Task& task = list.Pop();
  const size_t priority = Index(task.priority);
  --queue.depth.inputs[priority];
  queue.depth.tokens[priority] -= task.cost;
  --queue.inputs;
  queue.tokens -= task.cost;
  queue.bytes -= task.bytes;
  return task;
}

void Batcher::Cut(Queue& queue, Batch& batch, Dropped& dropped) {
  const TimePoint now = clock_.Now();
  while (TaskList* head = Head(queue)) {
    const Task& next = *head->first;
    // A transport cancels calls whose deadline passed: the deadline is the reason then.
    if (next.deadline <= now) {
      dropped.expired.Push(Remove(queue, *head));
      continue;
    }
    if (next.cancelled != nullptr && *next.cancelled && (*next.cancelled)()) {
      dropped.cancelled.Push(Remove(queue, *head));
      continue;
    }
    if (batch.cost + next.cost > queue.options.batch_token_budget ||
        static_cast<int64_t>(batch.tasks.size()) >= queue.options.batch_max_inputs) {
      return;
    }
    Task& task = Remove(queue, *head);
    task.taken = now;
    batch.cost += task.cost;
    batch.tasks.push_back(&task);
  }
}

void Batcher::NoteDrained(const Batch& batch) {
  const TimePoint now = clock_.Now();
  const double seconds = Seconds(now - last_taken_);
  if (last_cost_ > 0 && seconds > 0) {
    const double rate = static_cast<double>(last_cost_) / seconds;
    drain_rate_ = drain_rate_ == 0 ? rate : drain_rate_ + kSmoothing * (rate - drain_rate_);
  }
  last_taken_ = now;
  last_cost_ = batch.cost;
}

void Batcher::Abort(TaskList& tasks, const absl::Status& status) {
  while (tasks.first != nullptr) {
    Task& task = tasks.Pop();
    task.completion->Abort(task, status);
  }
}

bool Batcher::NextBatch(Batch& batch) {
  batch.queue = -1;
  batch.tasks.clear();
  batch.cost = 0;
  while (true) {
    Dropped dropped;
    bool more = true;
    {
      MutexLock lock(mutex_);
      QueueId id = MostUrgent();
      if (id < 0) last_cost_ = 0;  // the time until more work arrives is not time spent draining
      while (id < 0 && !closed_) {
        work_.Wait(mutex_);
        id = MostUrgent();
      }
      if (id >= 0) {
        batch.queue = id;
        Cut(*queues_[id], batch, dropped);
        if (!batch.tasks.empty()) NoteDrained(batch);
      }
      more = id >= 0;
    }
    Abort(dropped.expired,
          absl::DeadlineExceededError("the deadline passed while the request was queued"));
    Abort(dropped.cancelled, absl::CancelledError("the caller cancelled the request"));
    if (!batch.tasks.empty()) return true;
    if (!more) return false;
  }
}

void Batcher::Close() {
  MutexLock lock(mutex_);
  closed_ = true;
  work_.NotifyAll();
}

QueueDepth Batcher::Depth(QueueId id) const {
  MutexLock lock(mutex_);
  return queues_[id]->depth;
}

}  // namespace contextpool::engine
