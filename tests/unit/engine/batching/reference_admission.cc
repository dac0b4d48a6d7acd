// What the reference accepts.
#include <chrono>
#include <set>

#include "tests/unit/engine/batching/reference_batcher.h"

namespace contextpool::engine {
namespace {

constexpr Duration kTryAfter = std::chrono::seconds(1);

}  // namespace

Duration ReferenceBatcher::Queue::Steps(int64_t tokens) const {
  Duration time = steps.Predict(tokens);
  for (int64_t left = tokens - options.batch_token_budget; left > 0;
       left -= options.batch_token_budget) {
    time += Ns(steps.fixed_ns());
  }
  return time;
}

Duration ReferenceBatcher::Work(int32_t id) const {
  const ReferenceCall& call = calls_.at(id);
  return Ns(call.ns_per_token * static_cast<double>(Charged(id)));
}

int64_t ReferenceBatcher::Charged(int32_t id) const {
  const ReferenceCall& call = calls_.at(id);
  int64_t tokens = 0;
  for (const ReferenceTask& task : queues_.at(call.queue).waiting) {
    if (task.call == id && task.stands_for_twins) tokens += task.cost;
  }
  return tokens;
}

std::vector<int32_t> ReferenceBatcher::Waiting(Priority priority) const {
  std::set<int32_t> waiting;
  for (const auto& [id, queue] : queues_) {
    for (const ReferenceTask& task : queue.waiting) {
      if (CallOf(task).priority == priority) waiting.insert(task.call);
    }
  }
  // The numbers of calls rise.
  std::vector<int32_t> calls(waiting.begin(), waiting.end());
  std::stable_sort(calls.begin(), calls.end(), [this](int32_t a, int32_t b) {
    return calls_.at(a).deadline < calls_.at(b).deadline;
  });
  return calls;
}

Duration ReferenceBatcher::Work(Priority priority, TimePoint due_by) const {
  Duration work{};
  for (const int32_t id : Waiting(priority)) {
    if (calls_.at(id).deadline <= due_by) work += Work(id);
  }
  return work;
}

Duration ReferenceBatcher::StepLeft(TimePoint now, double margin) const {
  if (!step_) return Duration::zero();
  return std::max(step_->began + Times(step_->predicted, margin) - now, Duration::zero());
}

double ReferenceBatcher::BulkShare() const {
  double shares = 0;
  int queues = 0;
  for (const auto& [id, queue] : queues_) {
    if (First(queue, Priority::kBulk) == nullptr) continue;
    shares += queue.share();
    ++queues;
  }
  return queues == 0 ? 0 : shares / queues;
}

Duration ReferenceBatcher::Wait(Priority priority, TimePoint deadline, TimePoint now) const {
  const Duration running = StepLeft(now, kMargin);
  if (priority == Priority::kInteractive) return running + Work(priority, deadline);
  const double least = std::max(BulkShare() / (1 + BulkShare()), 0.01);
  const double left = std::clamp(1 - interactive_load_.PerSecond(now), least, 1.0);
  return running + Work(Priority::kInteractive, TimePoint::max()) +
         Times(Work(priority, deadline), 1 / left);
}

// If it made a whole step with the call first.
Duration ReferenceBatcher::SlackOfPromises(const ReferenceCall& call, int64_t tokens,
                                           TimePoint now) {
  const Queue& own = queues_.at(call.queue);
  int64_t all = tokens;
  for (const Priority priority : kBothClasses) all += Tokens(call.queue, priority);
  const Duration step =
      std::max(own.Steps(tokens), own.steps.Predict(std::min(all, own.options.batch_token_budget)));
  const TimePoint begin = now + StepLeft(now, kMargin) + step;
  return SlackAt(begin, call.queue, call.deadline, now);
}

Duration ReferenceBatcher::SlackAt(TimePoint end, int32_t queue, TimePoint deadline,
                                   TimePoint now) {
  while (true) {
    ReferenceCall* tightest = nullptr;
    Duration until_done{};
    TimePoint latest = TimePoint::max();
    Duration work{};
    for (const int32_t id : Waiting(Priority::kInteractive)) {
      ReferenceCall& call = calls_.at(id);
      work += Work(id);
      if (!call.promised || call.deadline <= deadline) continue;
      if (call.deadline == TimePoint::max() || call.deadline - work >= latest) continue;
      latest = call.deadline - work;
      tightest = &call;
      until_done = work;
    }
    if (tightest == nullptr) return Duration::max();
    const Duration slack = latest - FirstSteps(queue, tightest->deadline) - end;
    const Duration left = StepLeft(now, 1) + Times(until_done, 1 / kMargin);
    if (slack >= Duration::zero() || now + left <= tightest->deadline) return slack;
    tightest->promised = false;
  }
}

Duration ReferenceBatcher::FirstSteps(int32_t queue, TimePoint due_by) const {
  double fixed_ns = 0;
  for (const auto& [id, other] : queues_) {
    const ReferenceTask* const first = First(other, Priority::kInteractive);
    if (id == queue || first == nullptr || CallOf(*first).deadline > due_by) continue;
    fixed_ns += other.steps.fixed_ns();
  }
  return Ns(kMargin * fixed_ns);
}

Verdict ReferenceBatcher::Judge(const ReferenceCall& call, TimePoint now) {
  if (call.deadline <= now) return {Verdict::kLate};
  const Queue& queue = queues_.at(call.queue);
  const auto inputs = static_cast<int64_t>(call.tasks.size());
  int64_t tokens = 0;
  for (const ReferenceTask& task : call.tasks) {
    tokens += task.cost;
    if (task.cost > queue.options.batch_token_budget) return {Verdict::kTooLarge};
  }
  int64_t held_inputs = 0;
  int64_t held_tokens = 0;
  for (const auto& [id, other] : queues_) {
    for (const Priority priority : kBothClasses) {
      held_inputs += Inputs(id, priority);
      held_tokens += Tokens(id, priority);
    }
  }
  int64_t queue_inputs = 0;
  int64_t queue_tokens = 0;
  for (const Priority priority : kBothClasses) {
    queue_inputs += Inputs(call.queue, priority);
    queue_tokens += Tokens(call.queue, priority);
  }
  // A token is a byte here.
  const auto most_tokens = [](const QueueBounds& bounds) {
    return std::min(bounds.max_tokens, bounds.max_bytes);
  };
  if (inputs > queue.options.max_inputs || tokens > most_tokens(queue.options) ||
      inputs > total_.max_inputs || tokens > most_tokens(total_)) {
    return {Verdict::kTooLarge};
  }
  if (queue_inputs + inputs > queue.options.max_inputs ||
      queue_tokens + tokens > most_tokens(queue.options)) {
    return {Verdict::kFull};
  }
  if (held_inputs + inputs > total_.max_inputs || held_tokens + tokens > most_tokens(total_)) {
    return {Verdict::kFull};
  }

  if (!step_ && held_inputs == 0) return {Verdict::kAccepted};
  const bool idle = !(step_ && step_->queue == call.queue) && queue_inputs == 0;
  const bool tries = idle && queue.learned < now - kTryAfter;
  const Duration own = tries ? Duration::zero() : Times(queue.Steps(tokens), kMargin);
  const Duration slack = call.deadline - now - Wait(call.priority, call.deadline, now) -
                         FirstSteps(call.queue, call.deadline) - own;
  if (slack < Duration::zero()) return {Verdict::kTooLate, -slack};
  if (call.priority == Priority::kBulk) return {Verdict::kAccepted, slack};
  const Duration promises = SlackOfPromises(call, tokens, now);
  if (promises < Duration::zero()) return {Verdict::kTooLate, std::min(slack, -promises)};
  return {Verdict::kAccepted, std::min(slack, promises)};
}

}  // namespace contextpool::engine
