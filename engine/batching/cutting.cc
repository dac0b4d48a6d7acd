// Which work the next batch takes.
#include <algorithm>

#include "engine/batching/batcher.h"

namespace contextpool::engine {
namespace {

// REQUIRES: one waits.
Task& NextTask(Submission& work) {
  while (!work.tasks[work.next].queued.waiting) ++work.next;
  return work.tasks[work.next];
}

}  // namespace

Batcher::Queue* Batcher::MostUrgent() {
  const auto prefer = [](Queue*& best, Queue& queue, Priority priority) {
    const Schedule& schedule = queue.of(priority);
    if (schedule.empty()) return;
    if (best == nullptr || Earlier(*schedule.first(), *best->of(priority).first())) best = &queue;
  };
  Queue* owed = nullptr;
  Queue* interactive = nullptr;
  Queue* bulk = nullptr;
  for (const auto& queue : queues_) {
    if (queue == nullptr) continue;
    if (queue->owes_a_batch()) prefer(owed, *queue, Priority::kBulk);
    prefer(interactive, *queue, Priority::kInteractive);
    prefer(bulk, *queue, Priority::kBulk);
  }
  if (owed != nullptr) return owed;
  return interactive != nullptr ? interactive : bulk;
}

Batcher::Queue* Batcher::WaitForWork() {
  // When the device found work but began to wait for more.
  TimePoint until = TimePoint::max();
  while (true) {
    Queue* const queue = MostUrgent();
    if (queue == nullptr) {
      if (closed_) return nullptr;
      until = TimePoint::max();
      work_.Wait(mutex_);
      continue;
    }
    const TimePoint now = clock_.Now();
    if (until == TimePoint::max()) until = now + queue->options.max_wait;
    const int64_t seen = arrivals_;
    const TimePoint company = std::min(until, CompanyUntil(*queue, now));
    if (company <= now || closed_) return queue;
    while (arrivals_ == seen && !closed_ && clock_.Now() < company && MostUrgent() == queue) {
      clock_.WaitUntil(work_, mutex_, company);
    }
    // Nobody came: the next one is not worth waiting for either.
    if (arrivals_ == seen) until = now;
  }
}

TimePoint Batcher::CompanyUntil(const Queue& queue, TimePoint now) const {
  const QueueOptions& options = queue.options;
  const bool all_is_here = queue.load.inputs == total_.inputs;
  const double per_second = queue.arrivals.PerSecond(now);
  if (!all_is_here || per_second <= 0 || queue.load.tokens >= options.batch_token_budget ||
      queue.load.inputs >= options.batch_max_inputs) {
    return now;
  }
  const double gap_ns = 1e9 / per_second;
  if (gap_ns * static_cast<double>(queue.load.inputs) >= queue.steps.fixed_ns()) return now;
  TimePoint company = now + Duration(static_cast<int64_t>(gap_ns));
  for (const Schedule& schedule : queue.waiting) {
    if (schedule.empty()) continue;
    const Duration step = queue.steps.Predict(options.batch_token_budget);
    company = std::min(company, schedule.first()->deadline - step);
  }
  return company;
}

void Batcher::Cut(Cutting cutting) {
  if (!cutting.queue.owes_a_batch()) TakeOne(cutting, Priority::kInteractive);
  TakeOwed(cutting);
  while (Fill(cutting, Priority::kInteractive)) {
  }
  while (Fill(cutting, Priority::kBulk)) {
  }
}

bool Batcher::Fill(Cutting& cutting, Priority priority) {
  const Schedule& schedule = cutting.queue.of(priority);
  const Schedule& interactive = on_device(Priority::kInteractive);
  if (schedule.empty()) return false;
  Submission& next = FirstOf(schedule);
  const bool passes = !interactive.empty() && (priority == Priority::kBulk ||
                                               Earlier(*interactive.first(), next.on_device));
  if (passes) {
    const TimePoint end = EndWith(cutting, NextTask(next));
    if (end > LatestStart(cutting.queue, TimePoint::min(), end, cutting.now)) return false;
  }
  return TakeOne(cutting, priority);
}

TimePoint Batcher::WithMargin(TimePoint from, TimePoint until) {
  return from +
         Duration(static_cast<int64_t>(kMargin * static_cast<double>((until - from).count())));
}

TimePoint Batcher::EndWith(const Cutting& cutting, const Task& task) {
  const Duration step = cutting.queue.steps.Predict(cutting.batch.cost + task.cost);
  return WithMargin(cutting.now, cutting.now + step);
}

void Batcher::TakeOwed(Cutting& cutting) {
  const Schedule& bulk = cutting.queue.of(Priority::kBulk);
  while (!bulk.empty() &&
         static_cast<double>(NextTask(FirstOf(bulk)).cost) <= cutting.queue.credit &&
         TakeOne(cutting, Priority::kBulk)) {
  }
}

bool Batcher::TakeOne(Cutting& cutting, Priority priority) {
  Queue& queue = cutting.queue;
  const Batch& batch = cutting.batch;
  const Schedule& schedule = queue.of(priority);
  if (schedule.empty()) return false;
  Task& task = NextTask(FirstOf(schedule));
  if (batch.cost + task.cost > queue.options.batch_token_budget ||
      static_cast<int64_t>(batch.tasks.size()) >= queue.options.batch_max_inputs) {
    return false;
  }
  const TimePoint end = EndWith(cutting, task);
  if (end > cutting.end_by) return false;
  const TimePoint deadline = schedule.first()->deadline;
  // What cannot be done in time does not make batches small; what can without the margin still
  // does.
  if (end <= deadline) {
    cutting.end_by = std::min(cutting.end_by, deadline);
  } else if (const TimePoint latest = WithMargin(cutting.now, deadline); end <= latest) {
    cutting.end_by = std::min(cutting.end_by, latest);
  }
  HandOut(cutting, task);
  if (priority == Priority::kInteractive) {
    EarnCredit(task.cost);
  } else {
    queue.credit = std::max(0.0, queue.credit - static_cast<double>(task.cost));
  }
  return true;
}

void Batcher::HandOut(const Cutting& cutting, Task& task) {
  Queue& queue = cutting.queue;
  if (Task* before = queue.twins.Lead(task)) Charge(*before, 0);
  for (Task* taken = &task; taken != nullptr; taken = taken->twin) {
    taken->taken = cutting.now;
    Leave(queue, *taken);
  }
  cutting.batch.cost += task.cost;
  cutting.batch.tasks.push_back(&task);
}

void Batcher::EarnCredit(int64_t interactive_tokens) {
  // Shared by the queues with bulk work, or each model more would make their weight greater.
  int64_t sharers = 0;
  for (const auto& queue : queues_) {
    if (queue != nullptr && !queue->of(Priority::kBulk).empty()) ++sharers;
  }
  for (const auto& queue : queues_) {
    if (queue == nullptr || queue->of(Priority::kBulk).empty()) continue;
    // A batch that is not owed yet and what one step earns on top: more is never needed, and less
    // would forgive a debt.
    const double most =
        static_cast<double>(queue->options.batch_token_budget) * (1 + queue->bulk_share());
    const double earned = static_cast<double>(interactive_tokens) * queue->bulk_share();
    queue->credit = std::min(most, queue->credit + earned / static_cast<double>(sharers));
  }
}

}  // namespace contextpool::engine
