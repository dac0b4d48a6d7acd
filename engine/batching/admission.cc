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
constexpr Duration kLongestRetry = std::chrono::seconds(30);
// What is expected to take a time is given so much more of it.
constexpr double kMargin = 1.1;

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

absl::Status Batcher::CheckRoom(QueueId queue, int64_t inputs, int64_t bytes) const {
  MutexLock lock(mutex_);
  return CheckRoom(*queues_[queue], {inputs, 0, bytes, 0}, clock_.Now());
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
                                    TimePoint now) const {
  // An idle device tries: what it learns tells whether there is hope.
  if (running_.queue == nullptr && total_.inputs == 0) return absl::OkStatus();
  const Duration step = queue.steps.Predict(load.tokens);
  const Duration wait = ExpectedWait(work.priority, work.deadline, now);
  const TimePoint done = now + Scaled(wait + step, kMargin);
  if (done > work.deadline) {
    return RetryIn(
        done - work.deadline,
        TooLate(absl::StrCat("the answer is expected in ", Milliseconds(done - now),
                             " ms, after the deadline in ", Milliseconds(work.deadline - now),
                             " ms; try again later, or allow more time")));
  }
  if (work.priority == Priority::kBulk) return absl::OkStatus();
  // Not its own step: what is accepted must leave batches full, or there will be time for less.
  const TimePoint begin = now + RunningLeft(now) + NextStep(queue, load);
  const TimePoint latest = LatestStartAfter(work.deadline);
  if (begin <= latest) return absl::OkStatus();
  return RetryIn(
      begin - latest,
      TooLate("the request would make accepted work miss its deadline; try again later, or"
              " allow more time"));
}

Duration Batcher::NextStep(const Queue& queue, const Load& load) const {
  int64_t tokens = load.tokens;
  for (const Schedule& schedule : queue.waiting) tokens += schedule.tokens();
  return queue.steps.Predict(
      std::max(load.tokens, std::min(tokens, queue.options.batch_token_budget)));
}

Duration Batcher::RunningLeft(TimePoint now) const {
  if (running_.queue == nullptr) return Duration::zero();
  return std::max(running_.began + running_.predicted - now, Duration::zero());
}

Duration Batcher::ExpectedWait(Priority priority, TimePoint deadline, TimePoint now) const {
  return RunningLeft(now) +
         (priority == Priority::kInteractive ? InteractiveWait(deadline) : BulkWait(deadline, now));
}

Duration Batcher::InteractiveWait(TimePoint deadline) const {
  double ahead_ns = 0;
  double bulk_ns = 0;
  double bulk_share = 0;
  for (const auto& queue : queues_) {
    if (queue == nullptr) continue;
    ahead_ns += queue->Nanoseconds(queue->of(Priority::kInteractive).TokensDueBy(deadline));
    const Schedule& bulk = queue->of(Priority::kBulk);
    if (bulk.empty()) continue;
    bulk_ns += queue->Nanoseconds(bulk.tokens());
    bulk_share += queue->bulk_share();
  }
  return Nanoseconds(ahead_ns + std::min(bulk_ns, ahead_ns * bulk_share));
}

Duration Batcher::BulkWait(TimePoint deadline, TimePoint now) const {
  double interactive_ns = 0;
  double bulk_ns = 0;
  double least_share = 1;
  for (const auto& queue : queues_) {
    if (queue == nullptr) continue;
    interactive_ns += queue->Nanoseconds(queue->of(Priority::kInteractive).tokens());
    bulk_ns += queue->Nanoseconds(queue->of(Priority::kBulk).TokensDueBy(deadline));
    least_share = std::min(least_share, queue->bulk_share() / (1 + queue->bulk_share()));
  }
  // What interactive work leaves, but never less than bulk's share.
  const double share = std::max(least_share, 1 - kMargin * interactive_load_.PerSecond(now));
  return Nanoseconds(interactive_ns + bulk_ns / share);
}

TimePoint Batcher::LatestStartAfter(TimePoint deadline) const {
  // What is due by then stands before everything else, whichever queue it waits in.
  Duration before{};
  TimePoint latest = TimePoint::max();
  for (const auto& queue : queues_) {
    if (queue == nullptr) continue;
    const Schedule& interactive = queue->of(Priority::kInteractive);
    const Duration own = interactive.Work(interactive.TokensDueBy(deadline));
    before += own;
    const TimePoint alone = interactive.LatestStartAfter(deadline);
    if (alone != TimePoint::max()) latest = std::min(latest, alone + own);
  }
  return latest == TimePoint::max() ? latest : latest - before;
}

}  // namespace contextpool::engine
