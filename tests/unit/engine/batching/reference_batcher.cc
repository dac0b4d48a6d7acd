#include "tests/unit/engine/batching/reference_batcher.h"

namespace contextpool::engine {
namespace {

// Limits of what a batch may take.
constexpr double kFirst = 1e18;
constexpr double kFilling = 2e18;

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

void ReferenceBatcher::Accept(int32_t id, ReferenceCall call, TimePoint now) {
  Queue& queue = queues_.at(call.queue);
  const double ns_per_token = kMargin * queue.ns_per_token();
  const bool interactive = call.priority == Priority::kInteractive;
  call.ns_per_token = interactive ? ns_per_token * (1 + BulkShare()) : ns_per_token;
  if (!interactive && First(queue, Priority::kBulk) == nullptr) queue.credit = 0;
  for (ReferenceTask& task : call.tasks) {
    task.call = id;
    task.order = arrivals_++;
  }
  calls_[id] = call;
  for (const ReferenceTask& task : call.tasks) Join(queue, task);
  if (interactive) {
    interactive_load_.Note(now, 1e-9 * ns_per_token * static_cast<double>(Charged(id)));
  }
}

// Of tasks that are the same the most urgent newcomer stands for all, but none while one is being
// computed.
void ReferenceBatcher::Join(Queue& queue, ReferenceTask task) {
  const auto same = [&task](const ReferenceTask& other) { return other.text == task.text; };
  const bool is_running = running_.queue == CallOf(task).queue && !sealed_ &&
                          std::any_of(running_.tasks.begin(), running_.tasks.end(), same);
  task.twin_since = twins_++;
  task.stands_for_twins = !is_running;
  for (ReferenceTask& other : queue.waiting) {
    if (!same(other) || !other.stands_for_twins) continue;
    const Priority priority = CallOf(task).priority;
    const Priority others = CallOf(other).priority;
    const bool passes = priority == others ? Before(task, other) : priority < others;
    (passes ? other : task).stands_for_twins = false;
    if (passes) other.twin_since = twins_++;
  }
  queue.waiting.push_back(task);
}

// Takes a task out of the queue; one of its twins stands for the others then.
void ReferenceBatcher::Withdraw(Queue& queue, const ReferenceTask& task) {
  const ReferenceTask gone = task;
  std::erase_if(queue.waiting, [&](const ReferenceTask& other) { return SameTask(other, gone); });
  if (!gone.stands_for_twins) return;
  ReferenceTask* heir = nullptr;
  for (ReferenceTask& other : queue.waiting) {
    if (other.text == gone.text && (heir == nullptr || other.twin_since > heir->twin_since)) {
      heir = &other;
    }
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

void ReferenceBatcher::Seal(Duration took, TimePoint now) {
  sealed_ = true;
  // Whoever came while the same was being computed.
  Queue& queue = queues_.at(running_.queue);
  std::erase_if(queue.waiting, [&](const ReferenceTask& task) {
    const auto same = [&task](const ReferenceTask& other) { return other.text == task.text; };
    const bool joined = std::any_of(running_.tasks.begin(), running_.tasks.end(), same);
    if (joined) running_.twins.push_back(task);
    return joined;
  });
  if (took > Duration::zero()) Teach(running_.queue, running_.cost, took, now);
}

void ReferenceBatcher::Teach(int32_t id, int64_t tokens, Duration took, TimePoint now) {
  queues_.at(id).steps.Observe(tokens, took);
  queues_.at(id).learned = now;
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

// Whether the task would be computed before more urgent work.
bool ReferenceBatcher::Passes(const ReferenceTask& task) const {
  for (const auto& [id, queue] : queues_) {
    const ReferenceTask* const first = First(queue, Priority::kInteractive);
    if (first == nullptr) continue;
    if (CallOf(task).priority == Priority::kBulk || Before(*first, task)) return true;
  }
  return false;
}

bool ReferenceBatcher::Take(Queue& queue, Priority priority, double most_cost, TimePoint now) {
  const ReferenceTask* const first = First(queue, priority);
  if (first == nullptr || static_cast<double>(first->cost) > most_cost) return false;
  const ReferenceTask taken = *first;
  const int64_t cost = running_.cost + taken.cost;
  const Duration step = queue.steps.Predict(cost);
  const TimePoint end = now + Times(step, kMargin);
  // The first task, and bulk work for its credit, pass whatever they like.
  if (most_cost == kFilling && Passes(taken) &&
      SlackAt(end, running_.queue, TimePoint::min(), now) < Duration::zero()) {
    return false;
  }
  if (cost > queue.options.batch_token_budget || end > end_by_ ||
      static_cast<int64_t>(running_.tasks.size()) == queue.options.batch_max_inputs) {
    return false;
  }
  const TimePoint deadline = CallOf(taken).deadline;
  if (end <= deadline) {
    end_by_ = std::min(end_by_, deadline);
  } else if (const TimePoint latest = now + Times(deadline - now, kMargin); end <= latest) {
    end_by_ = std::min(end_by_, latest);
  }
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
  double sharers = 0;
  for (const auto& [id, other] : queues_) sharers += First(other, Priority::kBulk) != nullptr;
  for (auto& [id, other] : queues_) {
    if (First(other, Priority::kBulk) == nullptr) continue;
    const double most = static_cast<double>(other.options.batch_token_budget) * (1 + other.share());
    other.credit = std::min(most, other.credit + tokens * other.share() / sharers);
  }
  return true;
}

const ReferenceBatch& ReferenceBatcher::NextBatch(TimePoint now) {
  EndStep();
  Expire(now);
  running_ = {};
  running_.queue = Choose();
  sealed_ = false;
  end_by_ = TimePoint::max();
  Queue& queue = queues_.at(running_.queue);
  const bool owed = queue.credit >= static_cast<double>(queue.options.batch_token_budget) &&
                    First(queue, Priority::kBulk) != nullptr;
  if (!owed) Take(queue, Priority::kInteractive, kFirst, now);
  while (Take(queue, Priority::kBulk, queue.credit, now)) {
  }
  for (const Priority priority : kBothClasses) {
    while (Take(queue, priority, kFilling, now)) {
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
