#include "tests/unit/engine/batching/reference_batcher.h"

#include <cmath>

namespace contextpool::engine {
namespace {

constexpr Priority kBothClasses[] = {Priority::kInteractive, Priority::kBulk};

Duration Ns(double value) { return Duration(static_cast<int64_t>(value)); }

bool SameTask(const ReferenceTask& a, const ReferenceTask& b) {
  return a.call == b.call && a.index == b.index;
}

}  // namespace

bool ReferenceBatcher::CanRemove(int32_t id) const {
  return queues_.at(id).waiting.empty() && running_.queue != id;
}

// By deadline, then by arrival.
bool ReferenceBatcher::Before(const ReferenceTask& a, const ReferenceTask& b) const {
  const TimePoint due_a = CallOf(a).deadline;
  const TimePoint due_b = CallOf(b).deadline;
  return due_a != due_b ? due_a < due_b : a.order < b.order;
}

std::vector<ReferenceTask> ReferenceBatcher::Sorted(const Queue& queue, Priority priority) const {
  std::vector<ReferenceTask> tasks;
  for (const ReferenceTask& task : queue.waiting) {
    if (CallOf(task).priority == priority) tasks.push_back(task);
  }
  std::sort(tasks.begin(), tasks.end(),
            [this](const auto& a, const auto& b) { return Before(a, b); });
  return tasks;
}

const ReferenceTask* ReferenceBatcher::First(const Queue& queue, Priority priority) const {
  const ReferenceTask* first = nullptr;
  for (const ReferenceTask& task : queue.waiting) {
    if (CallOf(task).priority != priority) continue;
    if (first == nullptr || Before(task, *first)) first = &task;
  }
  return first;
}

int64_t ReferenceBatcher::Inputs(int32_t id, Priority priority) const {
  return static_cast<int64_t>(Sorted(queues_.at(id), priority).size());
}

int64_t ReferenceBatcher::Tokens(int32_t id, Priority priority) const {
  int64_t tokens = 0;
  for (const ReferenceTask& task : Sorted(queues_.at(id), priority)) tokens += task.cost;
  return tokens;
}

int64_t ReferenceBatcher::Work(const Queue& queue, Priority priority, TimePoint due_by) const {
  int64_t tokens = 0;
  for (const ReferenceTask& task : queue.waiting) {
    const ReferenceCall& call = CallOf(task);
    if (task.stands_for_twins && call.priority == priority && call.deadline <= due_by) {
      tokens += task.cost;
    }
  }
  return tokens;
}

Duration ReferenceBatcher::StepLeft(TimePoint now) const {
  if (!step_) return Duration::zero();
  return std::max(step_->began + step_->predicted - now, Duration::zero());
}

Duration ReferenceBatcher::Wait(Priority priority, TimePoint deadline, TimePoint now) const {
  const TimePoint never = TimePoint::max();
  double interactive = 0;
  double bulk = 0;
  double shares = 0;
  double least_share = 1;
  for (const auto& [id, queue] : queues_) {
    const bool is_bulk = priority == Priority::kBulk;
    interactive += queue.Ns(Work(queue, Priority::kInteractive, is_bulk ? never : deadline));
    bulk += queue.Ns(Work(queue, Priority::kBulk, is_bulk ? deadline : never));
    if (First(queue, Priority::kBulk) != nullptr) shares += queue.share();
    least_share = std::min(least_share, queue.share() / (1 + queue.share()));
  }
  if (priority == Priority::kInteractive) {
    return StepLeft(now) + Ns(interactive + std::min(bulk, interactive * shares));
  }
  const double left = 1 - 1.1 * interactive_load_.PerSecond(now);
  return StepLeft(now) + Ns(interactive + bulk / std::max(least_share, left));
}

// How much later the device could turn to the work that was accepted before and is due after
// `call`, if it made a whole step first.
Duration ReferenceBatcher::SlackOfAccepted(const ReferenceCall& call, int64_t tokens,
                                           TimePoint now) const {
  const Queue& own = queues_.at(call.queue);
  const TimePoint never = TimePoint::max();
  int64_t all = tokens;
  for (const Priority priority : kBothClasses) all += Work(own, priority, never);
  const int64_t step = std::max(tokens, std::min(all, own.options.batch_token_budget));
  const TimePoint begin = now + StepLeft(now) + own.steps.Predict(step);
  Duration slack = Duration::max();
  for (const auto& [id, queue] : queues_) {
    // Due by the call's deadline, in other queues.
    double others = 0;
    for (const auto& [other_id, other] : queues_) {
      if (other_id == id) continue;
      const int64_t urgent = Work(other, Priority::kInteractive, call.deadline);
      others += other.promised_ns * static_cast<double>(urgent);
    }
    int64_t before = 0;
    for (const ReferenceTask& task : Sorted(queue, Priority::kInteractive)) {
      if (task.stands_for_twins) before += task.cost;
      const TimePoint deadline = CallOf(task).deadline;
      if (deadline <= call.deadline) continue;
      const Duration work = Ns(queue.promised_ns * static_cast<double>(before) + others);
      slack = std::min(slack, deadline - work - begin);
    }
  }
  return slack;
}

Verdict ReferenceBatcher::Judge(const ReferenceCall& call, TimePoint now) const {
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
  const Duration wait = Wait(call.priority, call.deadline, now) + queue.steps.Predict(tokens);
  const Duration slack = call.deadline - (now + Ns(1.1 * static_cast<double>(wait.count())));
  if (slack < Duration::zero()) return {Verdict::kTooLate, -slack};
  if (call.priority == Priority::kBulk) return {Verdict::kAccepted, slack};
  const Duration accepted = SlackOfAccepted(call, tokens, now);
  if (accepted < Duration::zero()) return {Verdict::kTooLate, std::min(slack, -accepted)};
  return {Verdict::kAccepted, std::min(slack, accepted)};
}

void ReferenceBatcher::Accept(int32_t id, ReferenceCall call, TimePoint now) {
  Queue& queue = queues_.at(call.queue);
  if (call.priority == Priority::kBulk && First(queue, Priority::kBulk) == nullptr) {
    queue.credit = 0;
  }
  int64_t tokens = 0;
  for (ReferenceTask& task : call.tasks) {
    task.call = id;
    task.order = arrivals_++;
    const auto same = [&task](const ReferenceTask& other) { return other.text == task.text; };
    const auto is_running = [&] {
      return running_.queue == call.queue && !sealed_ &&
             std::any_of(running_.tasks.begin(), running_.tasks.end(), same);
    };
    if (std::any_of(queue.waiting.begin(), queue.waiting.end(), same)) {
      queue.waiting.push_back(task);
    } else if (is_running()) {
      running_.twins.push_back(task);
    } else {
      task.stands_for_twins = true;
      tokens += task.cost;
      queue.waiting.push_back(task);
    }
  }
  if (call.priority == Priority::kInteractive) {
    interactive_load_.Note(now, queue.Ns(tokens) * 1e-9);
  }
  calls_[id] = std::move(call);
}

// Takes a task out of the queue; of its twins the youngest stands for the others then.
void ReferenceBatcher::Withdraw(Queue& queue, const ReferenceTask& task) {
  const ReferenceTask gone = task;
  std::erase_if(queue.waiting, [&](const ReferenceTask& other) { return SameTask(other, gone); });
  if (!gone.stands_for_twins) return;
  ReferenceTask* heir = nullptr;
  for (ReferenceTask& other : queue.waiting) {
    if (other.text == gone.text && (heir == nullptr || other.order > heir->order)) heir = &other;
  }
  if (heir != nullptr) heir->stands_for_twins = true;
}

void ReferenceBatcher::Drop(int32_t id) {
  ReferenceCall& call = calls_.at(id);
  Queue& queue = queues_.at(call.queue);
  for (const ReferenceTask& task : call.tasks) {
    const auto waiting = std::find_if(queue.waiting.begin(), queue.waiting.end(),
                                      [&](const auto& other) { return SameTask(other, task); });
    if (waiting == queue.waiting.end()) continue;
    Withdraw(queue, *waiting);
    ++call.aborted;
  }
}

void ReferenceBatcher::Cancel(int32_t id) {
  // The queue of a call that was answered may be gone.
  const ReferenceCall& call = calls_.at(id);
  if (call.finished + call.aborted < static_cast<int64_t>(call.tasks.size())) Drop(id);
}

void ReferenceBatcher::Expire(TimePoint now) {
  std::vector<int32_t> late;
  for (const auto& [id, queue] : queues_) {
    for (const ReferenceTask& task : queue.waiting) {
      if (CallOf(task).deadline <= now) late.push_back(task.call);
    }
  }
  for (const int32_t id : late) Drop(id);
}

TimePoint ReferenceBatcher::EarliestDeadline() const {
  TimePoint earliest = TimePoint::max();
  for (const auto& [id, queue] : queues_) {
    for (const ReferenceTask& task : queue.waiting) {
      earliest = std::min(earliest, CallOf(task).deadline);
    }
  }
  return earliest;
}

bool ReferenceBatcher::HasWork(TimePoint now) const {
  for (const auto& [id, queue] : queues_) {
    for (const ReferenceTask& task : queue.waiting) {
      if (CallOf(task).deadline > now) return true;
    }
  }
  return false;
}

void ReferenceBatcher::EndStep(TimePoint now) {
  if (!step_) return;
  Queue& queue = queues_.at(step_->queue);
  queue.steps.Observe(step_->cost, now - step_->began);
  step_.reset();
  const double promise = 1.25 * queue.Ns(1) * (1 + queue.share());
  if (std::abs(promise - queue.promised_ns) > 0.05 * queue.promised_ns) {
    queue.promised_ns = promise;
  }
}

// Owed bulk work first, then interactive work, then bulk work; of each the most urgent.
int32_t ReferenceBatcher::Choose() const {
  int32_t chosen = -1;
  const ReferenceTask* best = nullptr;
  const auto consider = [&](int32_t id, const ReferenceTask* first) {
    if (first == nullptr || (best != nullptr && !Before(*first, *best))) return;
    best = first;
    chosen = id;
  };
  for (const auto& [id, queue] : queues_) {
    const bool owed = queue.credit >= static_cast<double>(queue.options.batch_token_budget);
    if (owed) consider(id, First(queue, Priority::kBulk));
  }
  for (const Priority priority : kBothClasses) {
    if (chosen >= 0) break;
    for (const auto& [id, queue] : queues_) consider(id, First(queue, priority));
  }
  return chosen;
}

bool ReferenceBatcher::Take(Queue& queue, Priority priority, double most_cost, TimePoint now) {
  const ReferenceTask* const first = First(queue, priority);
  if (first == nullptr || static_cast<double>(first->cost) > most_cost) return false;
  const ReferenceTask taken = *first;
  const int64_t cost = running_.cost + taken.cost;
  const Duration step = queue.steps.Predict(cost);
  const TimePoint end = now + step + step / 4;
  if (cost > queue.options.batch_token_budget || end > end_by_ ||
      static_cast<int64_t>(running_.tasks.size()) == queue.options.batch_max_inputs) {
    return false;
  }
  const TimePoint deadline = CallOf(taken).deadline;
  if (end <= deadline) end_by_ = std::min(end_by_, deadline);
  running_.cost = cost;
  running_.tasks.push_back(taken);
  std::erase_if(queue.waiting, [&](const ReferenceTask& task) {
    const bool same = task.text == taken.text;
    if (same && !SameTask(task, taken)) running_.twins.push_back(task);
    return same;
  });
  const auto tokens = static_cast<double>(taken.cost);
  if (priority == Priority::kBulk) {
    queue.credit = std::max(0.0, queue.credit - tokens);
    return true;
  }
  for (auto& [id, other] : queues_) {
    if (First(other, Priority::kBulk) == nullptr) continue;
    const double most = static_cast<double>(other.options.batch_token_budget) * (1 + other.share());
    other.credit = std::min(most, other.credit + tokens * other.share());
  }
  return true;
}

const ReferenceBatch& ReferenceBatcher::NextBatch(TimePoint now) {
  constexpr double kAny = 1e18;
  EndStep(now);
  Expire(now);
  running_ = {};
  running_.queue = Choose();
  sealed_ = false;
  end_by_ = TimePoint::max();
  Queue& queue = queues_.at(running_.queue);
  const bool owed = queue.credit >= static_cast<double>(queue.options.batch_token_budget) &&
                    First(queue, Priority::kBulk) != nullptr;
  if (!owed) Take(queue, Priority::kInteractive, kAny, now);
  while (Take(queue, Priority::kBulk, queue.credit, now)) {
  }
  for (const Priority priority : kBothClasses) {
    while (Take(queue, priority, kAny, now)) {
    }
  }
  step_ = {running_.queue, running_.cost, now, queue.steps.Predict(running_.cost)};
  return running_;
}

void ReferenceBatcher::Complete() {
  for (const auto& tasks : {running_.tasks, running_.twins}) {
    for (const ReferenceTask& task : tasks) ++calls_.at(task.call).finished;
  }
  running_ = {};
}

}  // namespace contextpool::engine
