#include "engine/batching/batcher.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace contextpool::engine {
namespace {

size_t Index(Priority priority) { return static_cast<size_t>(priority); }

// Whether `a` is to be served before `b`.
bool MoreUrgent(const Submission& a, const Submission& b) {
  return a.priority == b.priority ? Earlier(a, b) : a.priority == Priority::kInteractive;
}

Duration Work(const Submission& work) {
  return Duration(static_cast<int64_t>(work.ns_per_token * static_cast<double>(work.tokens)));
}

}  // namespace

Batcher::Batcher(Clock& clock, const QueueBounds& total) : clock_(clock), total_bounds_(total) {}

QueueId Batcher::AddQueue(const QueueOptions& options) {
  assert(options.batch_token_budget > 0 && options.batch_max_inputs > 0);
  assert(options.interactive_weight > 0 && options.bulk_weight > 0);
  auto queue = std::make_unique<Queue>();
  queue->options = options;
  // What waits, and what is being computed.
  queue->twins.Reserve(options.max_inputs + options.batch_max_inputs);
  MutexLock lock(mutex_);
  auto place = std::find(queues_.begin(), queues_.end(), nullptr);
  if (place == queues_.end()) place = queues_.emplace(place);
  queue->id = static_cast<QueueId>(place - queues_.begin());
  *place = std::move(queue);
  return (*place)->id;
}

void Batcher::RemoveQueue(QueueId queue) {
  MutexLock lock(mutex_);
  assert(queues_[queue]->load.inputs == 0);
  if (running_.queue == queues_[queue].get()) running_ = {};
  queues_[queue].reset();
}

absl::Status Batcher::Enqueue(QueueId id, Submission& work) {
  for (Task& task : work.tasks) task.queued.hash = TwinIndex::Hash(task);
  const Load load = LoadOf(work);
  MutexLock lock(mutex_);
  if (closed_) return absl::UnavailableError("the server is draining; ask another replica");
  if (work.stop.stop_requested()) return absl::CancelledError("the caller cancelled the request");
  const TimePoint now = clock_.Now();
  if (work.deadline <= now) {
    return absl::DeadlineExceededError("the deadline passed before the request was queued");
  }
  Queue& queue = *queues_[id];
  if (absl::Status status = CheckRoom(queue, load, now); !status.ok()) return status;
  if (absl::Status status = CheckDeadline(queue, work, load, now); !status.ok()) return status;
  Add(queue, work, now);
  // Under the lock: once it is free the work may be answered and this batcher gone.
  work_.NotifyOne();
  if (work.deadline < expiry_at_) expiry_.NotifyOne();
  return absl::OkStatus();
}

void Batcher::Add(Queue& queue, Submission& work, TimePoint now) {
  work.queue = queue.id;
  work.arrival = arrivals_++;
  work.tokens = 0;
  const bool interactive = work.priority == Priority::kInteractive;
  const double ns_per_token = kMargin * queue.ns_per_token();
  work.ns_per_token = interactive ? ns_per_token * (1 + BulkShare()) : ns_per_token;
  for (Task& task : work.tasks) {
    task.enqueued = now;
    AddTask(queue, work, task);
  }
  queue.arrivals.Note(now, static_cast<double>(work.waiting));
  if (interactive) {
    interactive_load_.Note(now, 1e-9 * ns_per_token * static_cast<double>(work.tokens));
  }
  Insert(queue, work);
}

void Batcher::AddTask(Queue& queue, Submission& work, Task& task) {
  task.queued.submission = &work;
  task.queued.waiting = true;
  task.queued.charge = task.cost;
  if (Task* const lead = queue.twins.Add(task)) {
    if (lead->queued.waiting && MoreUrgent(work, *lead->queued.submission)) {
      queue.twins.Lead(task);
      Charge(*lead, 0);
    } else {
      task.queued.charge = 0;
    }
  }
  work.tokens += task.queued.charge;
  ++work.waiting;
  ++queue.depth.inputs[Index(work.priority)];
  queue.depth.tokens[Index(work.priority)] += task.cost;
  for (Load* load : {&queue.load, &total_}) {
    ++load->inputs;
    load->tokens += task.cost;
    load->bytes += task.bytes;
  }
}

void Batcher::Insert(Queue& queue, Submission& work) {
  Schedule& schedule = queue.of(work.priority);
  if (work.priority == Priority::kBulk && schedule.empty()) queue.credit = 0;
  schedule.Insert(work);
  work.on_device.deadline = work.deadline;
  work.on_device.arrival = work.arrival;
  work.on_device.promised = work.promised;
  work.on_device.work = Work(work);
  on_device(work.priority).Insert(work.on_device);
}

void Batcher::Charge(Task& task, int64_t tokens) {
  Submission& work = *task.queued.submission;
  const int64_t change = tokens - std::exchange(task.queued.charge, tokens);
  if (change == 0) return;
  work.tokens += change;
  on_device(work.priority).SetWork(work.on_device, Work(work));
}

void Batcher::Leave(Queue& queue, Task& task) {
  Submission& work = *task.queued.submission;
  const size_t priority = Index(work.priority);
  task.queued.waiting = false;
  --queue.depth.inputs[priority];
  queue.depth.tokens[priority] -= task.cost;
  for (Load* load : {&queue.load, &total_}) {
    --load->inputs;
    load->tokens -= task.cost;
    load->bytes -= task.bytes;
  }
  if (--work.waiting == 0) {
    queue.of(work.priority).Erase(work);
    on_device(work.priority).Erase(work.on_device);
  } else {
    Charge(task, 0);
  }
}

void Batcher::Drop(Queue& queue, Submission& work, Dropped& dropped) {
  work.dropped = work.waiting;
  dropped.Push(work);
  for (size_t i = work.next; work.waiting > 0; ++i) {
    Task& task = work.tasks[i];
    if (!task.queued.waiting) continue;
    if (Task* heir = queue.twins.Remove(task)) Charge(*heir, heir->cost);
    Leave(queue, task);
  }
}

void Batcher::Dropped::Push(Submission& work) {
  work.next_dropped = first;
  first = &work;
}

void Batcher::Abort(Dropped& dropped, const absl::Status& status) {
  while (dropped.first != nullptr) {
    Submission& work = *dropped.first;
    dropped.first = work.next_dropped;
    work.completion->Abort(work.dropped, status);
  }
}

void Batcher::Cancel(Submission& work) {
  Dropped cancelled;
  {
    MutexLock lock(mutex_);
    if (work.waiting == 0) return;
    Drop(*queues_[work.queue], work, cancelled);
    NotifyIfDone();
  }
  Abort(cancelled, absl::CancelledError("the caller cancelled the request"));
}

TimePoint Batcher::EarliestDeadline() const {
  TimePoint earliest = TimePoint::max();
  for (const Schedule& schedule : device_) {
    if (!schedule.empty()) earliest = std::min(earliest, schedule.first()->deadline);
  }
  return earliest;
}

void Batcher::DropExpired(TimePoint now, Dropped& expired) {
  for (const auto& queue : queues_) {
    if (queue == nullptr) continue;
    for (const Schedule& schedule : queue->waiting) {
      while (!schedule.empty() && schedule.first()->deadline <= now) {
        Drop(*queue, FirstOf(schedule), expired);
      }
    }
  }
}

bool Batcher::ExpireNext() {
  Dropped expired;
  {
    MutexLock lock(mutex_);
    TimePoint now = clock_.Now();
    while ((expiry_at_ = EarliestDeadline()) > now) {
      if (closed_ && total_.inputs == 0) return false;
      clock_.WaitUntil(expiry_, mutex_, expiry_at_);
      now = clock_.Now();
    }
    DropExpired(now, expired);
    NotifyIfDone();
  }
  Abort(expired, absl::DeadlineExceededError("the deadline passed while the request was queued"));
  return true;
}

bool Batcher::NextBatch(Batch& batch) {
  batch.tasks.clear();
  batch.cost = 0;
  batch.took = Duration::zero();
  while (true) {
    Dropped expired;
    bool more = false;
    {
      MutexLock lock(mutex_);
      running_ = {};
      if (Queue* const queue = WaitForWork()) {
        more = true;
        const TimePoint now = clock_.Now();
        DropExpired(now, expired);
        // What expired may have been why this queue was chosen.
        if (expired.first == nullptr) {
          Cut({*queue, batch, now});
          BeginStep(*queue, batch, now);
        }
      }
      NotifyIfDone();
    }
    Abort(expired, absl::DeadlineExceededError("the deadline passed while the request was queued"));
    if (!batch.tasks.empty()) return true;
    if (!more) return false;
  }
}

void Batcher::Seal(Batch& batch) {
  MutexLock lock(mutex_);
  Queue& queue = *queues_[batch.queue];
  for (Task* lead : batch.tasks) {
    queue.twins.Retire(*lead);
    for (Task* twin = lead->twin; twin != nullptr; twin = twin->twin) {
      if (!twin->queued.waiting) continue;
      twin->taken = twin->enqueued;  // came while its lead was being computed
      Leave(queue, *twin);
    }
  }
  // A step that failed says nothing about the next one.
  if (batch.took == Duration::zero()) return;
  queue.steps.Observe(batch.cost, batch.took);
  queue.learned = clock_.Now();
}

void Batcher::Teach(QueueId queue, int64_t tokens, Duration took) {
  MutexLock lock(mutex_);
  queues_[queue]->steps.Observe(tokens, took);
  queues_[queue]->learned = clock_.Now();
}

void Batcher::BeginStep(Queue& queue, Batch& batch, TimePoint now) {
  batch.queue = queue.id;
  batch.predicted = queue.steps.Predict(batch.cost);
  running_ = {&queue, now, batch.predicted};
}

void Batcher::NotifyIfDone() {
  if (!closed_ || total_.inputs > 0) return;
  work_.NotifyAll();
  expiry_.NotifyAll();
}

void Batcher::Close() {
  MutexLock lock(mutex_);
  closed_ = true;
  work_.NotifyAll();
  expiry_.NotifyAll();
}

QueueDepth Batcher::Depth(QueueId id) const {
  MutexLock lock(mutex_);
  QueueDepth depth = queues_[id]->depth;
  depth.bytes = queues_[id]->load.bytes;
  depth.expected_wait = ExpectedWait(Priority::kInteractive, TimePoint::max(), clock_.Now());
  return depth;
}

}  // namespace contextpool::engine
