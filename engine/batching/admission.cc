// Which work is accepted: what there is room for, and what can be done in time.
#include <algorithm>
#include <chrono>

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

double NanosecondsDueBy(const Schedule& schedule, TimePoint deadline) {
  return schedule.ns_per_token() * static_cast<double>(schedule.TokensDueBy(deadline));
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
};

absl::Status CheckBound(const Bound& bound, const char* whose) {
  if (bound.arriving > bound.most) {
    return absl::InvalidArgumentError(absl::StrCat("inputs: the request holds ", bound.arriving,
                                                   " ", bound.unit, ", more than ", whose,
                                                   " queue (", bound.most, "); split it"));
  }
  if (bound.waiting + bound.arriving > bound.most) {
    return absl::ResourceExhaustedError(absl::StrCat(whose, " queue is full: ", bound.waiting,
                                                     " of ", bound.most, " ", bound.unit,
                                                     " are waiting"));
  }
  return absl::OkStatus();
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
  const auto check = [&load](const Load& held, const QueueBounds& bounds, const char* whose) {
    for (const Bound& bound : {Bound{held.inputs, load.inputs, bounds.max_inputs, "inputs"},
                               Bound{held.tokens, load.tokens, bounds.max_tokens, "tokens"},
                               Bound{held.bytes, load.bytes, bounds.max_bytes, "bytes"}}) {
      if (absl::Status status = CheckBound(bound, whose); !status.ok()) return status;
    }
    return absl::OkStatus();
  };
  absl::Status status = check(queue.load, queue.options, "the model's");
  if (status.ok()) status = check(total_, total_bounds_, "the server's");
  if (!absl::IsResourceExhausted(status)) return status;
  return RetryIn(ExpectedWait(Priority::kInteractive, TimePoint::max(), now), std::move(status));
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
  const TimePoint begin = now + RunningLeft(now) + step;
  const TimePoint latest = LatestStartAfter(work.deadline);
  if (begin <= latest) return absl::OkStatus();
  return RetryIn(
      begin - latest,
      TooLate("the request would make accepted work miss its deadline; try again later, or"
              " allow more time"));
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
    const Schedule& interactive = queue->of(Priority::kInteractive);
    const Schedule& bulk = queue->of(Priority::kBulk);
    ahead_ns += NanosecondsDueBy(interactive, deadline);
    if (bulk.empty()) continue;
    bulk_ns += bulk.ns_per_token() * static_cast<double>(bulk.tokens());
    bulk_share = std::max(bulk_share, queue->bulk_share());
  }
  return Nanoseconds(ahead_ns + std::min(bulk_ns, ahead_ns * bulk_share));
}

Duration Batcher::BulkWait(TimePoint deadline, TimePoint now) const {
  double interactive_ns = 0;
  double bulk_ns = 0;
  double least_share = 1;
  for (const auto& queue : queues_) {
    if (queue == nullptr) continue;
    const Schedule& interactive = queue->of(Priority::kInteractive);
    const Schedule& bulk = queue->of(Priority::kBulk);
    interactive_ns += interactive.ns_per_token() * static_cast<double>(interactive.tokens());
    bulk_ns += NanosecondsDueBy(bulk, deadline);
    least_share = std::min(least_share, queue->bulk_share() / (1 + queue->bulk_share()));
  }
  // What interactive work leaves, but never less than bulk's share.
  const double share = std::max(least_share, 1 - interactive_load_.PerSecond(now));
  return Nanoseconds(interactive_ns + bulk_ns / share);
}

TimePoint Batcher::LatestStartAfter(TimePoint deadline) const {
  // What is due by then stands before everything else, whichever queue it waits in.
  Duration before{};
  TimePoint latest = TimePoint::max();
  for (const auto& queue : queues_) {
    if (queue == nullptr) continue;
    const Schedule& interactive = queue->of(Priority::kInteractive);
    const Duration own = Nanoseconds(NanosecondsDueBy(interactive, deadline));
    before += own;
    const TimePoint alone = interactive.LatestStartAfter(deadline);
    if (alone != TimePoint::max()) latest = std::min(latest, alone + own);
  }
  return latest == TimePoint::max() ? latest : latest - before;
}

}  // namespace contextpool::engine
