// Which work is accepted: what there is room for, and what can be done in time.
#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/retry.h"
#include "engine/batching/batcher.h"

namespace contextpool::engine {
namespace {

constexpr Duration kShortestRetry = std::chrono::milliseconds(10);
// A model that learned nothing for this time may be wrong about itself.
constexpr Duration kTryAfter = std::chrono::seconds(1);
// Of the device, where the first bulk work comes and nothing waits for its weight.
constexpr double kLeastShare = 0.01;
constexpr Duration kLongestRetry = std::chrono::seconds(30);

Duration Nanoseconds(double value) { return Duration(static_cast<int64_t>(value)); }

Duration Scaled(Duration duration, double factor) {
  return Nanoseconds(static_cast<double>(duration.count()) * factor);
}

int64_t Milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

absl::Status RetryIn(Duration delay, absl::Status status) {
  SetRetryDelay(status, std::clamp(delay, kShortestRetry, kLongestRetry));
  return status;
}

struct Bound {
  int64_t waiting;
  int64_t arriving;
  int64_t most;
  const char* unit;
  const char* whose;
};

absl::Status CheckSize(const Bound& bound) {
  if (bound.arriving <= bound.most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("inputs: the request holds ", bound.arriving, " ",
                                                 bound.unit, ", more than ", bound.whose,
                                                 " queue (", bound.most, "); split it"));
}

absl::Status CheckFree(const Bound& bound) {
  if (bound.waiting + bound.arriving <= bound.most) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(bound.whose, " queue is full: ", bound.waiting,
                                                   " of ", bound.most, " ", bound.unit,
                                                   " are waiting"));
}

}  // namespace

Batcher::Load Batcher::LoadOf(const Submission& work) {
  Load load;
  load.inputs = static_cast<int64_t>(work.tasks.size());
  for (const Task& task : work.tasks) {
    load.tokens += task.cost;
    load.bytes += task.bytes;
    load.largest = std::max(load.largest, task.cost);
  }
  return load;
}

absl::Status Batcher::CheckRoom(QueueId queue, int64_t inputs, int64_t tokens,
                                int64_t bytes) const {
  MutexLock lock(mutex_);
  return CheckRoom(*queues_[queue], {inputs, tokens, bytes, 0}, clock_.Now());
}

absl::Status Batcher::CheckRoom(const Queue& queue, const Load& load, TimePoint now) const {
  const int64_t budget = queue.options.batch_token_budget;
  if (load.largest > budget) {
    return absl::InvalidArgumentError(absl::StrCat(
        "inputs: one has ", load.largest, " tokens, more than a batch holds (", budget, ")"));
  }
  std::array<Bound, 6> bounds;
  auto bound = bounds.begin();
  const auto add = [&](const Load& held, const QueueBounds& most, const char* whose) {
    *bound++ = {held.inputs, load.inputs, most.max_inputs, "inputs", whose};
    *bound++ = {held.tokens, load.tokens, most.max_tokens, "tokens", whose};
    *bound++ = {held.bytes, load.bytes, most.max_bytes, "bytes", whose};
  };
  add(queue.load, queue.options, "the model's");
  add(total_, total_bounds_, "the server's");
  // First what no waiting would help.
  for (const Bound& checked : bounds) {
    if (absl::Status status = CheckSize(checked); !status.ok()) return status;
  }
  for (const Bound& checked : bounds) {
    if (absl::Status status = CheckFree(checked); !status.ok()) {
      return RetryIn(ExpectedWait(Priority::kInteractive, TimePoint::max(), now),
                     std::move(status));
    }
  }
  return absl::OkStatus();
}

absl::Status Batcher::CheckDeadline(const Queue& queue, const Submission& work, const Load& load,
                                    TimePoint now) {
  // Where nothing stands in the way, only a step can correct a prediction that is wrong.
  if (running_.queue == nullptr && total_.inputs == 0) return absl::OkStatus();
  const bool model_is_idle = running_.queue != &queue && queue.load.inputs == 0;
  const bool tries = model_is_idle && queue.learned < now - kTryAfter;
  const int64_t budget = queue.options.batch_token_budget;
  const Duration step = queue.steps.Predict(load.tokens, budget);
  const TimePoint done = now + ExpectedWait(work.priority, work.deadline, now) +
                         FirstSteps(queue, work.deadline) +
                         (tries ? Duration::zero() : Scaled(step, kMargin));
  if (done > work.deadline) {
    return RetryIn(
        done - work.deadline,
        TooLate(absl::StrCat("the answer is expected in ", Milliseconds(done - now),
                             " ms, after the deadline in ", Milliseconds(work.deadline - now),
                             " ms; try again later, or allow more time")));
  }
  if (work.priority == Priority::kBulk) return absl::OkStatus();
  // Not its own step: what is accepted must leave batches full, or there will be time for less.
  const int64_t next = std::min(load.tokens + queue.load.tokens, budget);
  return CheckPromises(queue, work.deadline, std::max(step, queue.steps.Predict(next)), now);
}

absl::Status Batcher::CheckPromises(const Queue& queue, TimePoint deadline, Duration step,
                                    TimePoint now) {
  const TimePoint begin = now + RunningLeft(now, kMargin) + step;
  const TimePoint latest = LatestStart(queue, deadline, begin, now);
  if (begin <= latest) return absl::OkStatus();
  return RetryIn(begin - latest,
                 TooLate("the request would make accepted work miss its deadline; try again"
                         " later, or allow more time"));
}

TimePoint Batcher::LatestStart(const Queue& queue, TimePoint deadline, TimePoint end,
                               TimePoint now) {
  Schedule& interactive = on_device(Priority::kInteractive);
  while (true) {
    const Schedule::Tightest promise = interactive.TightestAfter(deadline);
    if (promise.entry == nullptr) return TimePoint::max();
    const TimePoint latest = promise.latest_start - FirstSteps(queue, promise.entry->deadline);
    if (end <= latest || !IsLost(promise, now)) return latest;
    // It keeps its place, but stands in nobody's way.
    interactive.Unpromise(*promise.entry);
  }
}

Duration Batcher::FirstSteps(const Queue& queue, TimePoint due_by) const {
  double fixed_ns = 0;
  for (const auto& other : queues_) {
    if (other == nullptr || other.get() == &queue) continue;
    const Schedule& interactive = other->of(Priority::kInteractive);
    if (interactive.empty() || interactive.first()->deadline > due_by) continue;
    fixed_ns += other->steps.fixed_ns();
  }
  return Nanoseconds(kMargin * fixed_ns);
}

bool Batcher::IsLost(const Schedule::Tightest& promise, TimePoint now) const {
  const TimePoint deadline = promise.entry->deadline;
  return now + RunningLeft(now, 1) + Scaled(deadline - promise.latest_start, 1 / kMargin) >
         deadline;
}

Duration Batcher::RunningLeft(TimePoint now, double margin) const {
  if (running_.queue == nullptr) return Duration::zero();
  return std::max(running_.began + Scaled(running_.predicted, margin) - now, Duration::zero());
}

Duration Batcher::ExpectedWait(Priority priority, TimePoint deadline, TimePoint now) const {
  const Schedule& interactive = on_device(Priority::kInteractive);
  const Schedule& bulk = on_device(Priority::kBulk);
  const Duration running = RunningLeft(now, kMargin);
  if (priority == Priority::kInteractive) return running + interactive.WorkDueBy(deadline);
  // What interactive work leaves, but never less than bulk's share.
  const double least = BulkShare() / (1 + BulkShare());
  const double share =
      std::clamp(1 - interactive_load_.PerSecond(now), std::max(least, kLeastShare), 1.0);
  return running + interactive.work() + Scaled(bulk.WorkDueBy(deadline), 1 / share);
}

double Batcher::BulkShare() const {
  double sum = 0;
  int64_t queues = 0;
  for (const auto& queue : queues_) {
    if (queue == nullptr || queue->of(Priority::kBulk).empty()) continue;
    sum += queue->bulk_share();
    ++queues;
  }
  return queues == 0 ? 0 : sum / static_cast<double>(queues);
}

}  // namespace contextpool::engine
