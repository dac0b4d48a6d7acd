// The batcher's rules again, written to be obvious rather than fast: lists, and a search through
// all of them for every question. It does not wait for company.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "engine/base/options.h"
#include "engine/base/request.h"
#include "engine/batching/step_model.h"

namespace contextpool::engine {

struct ReferenceTask {
  int32_t call = 0;
  int32_t index = 0;
  int32_t text = 0;  // the same: twins
  int64_t cost = 0;
  int64_t order = 0;  // of arrival
  bool stands_for_twins = false;
  int64_t twin_since = 0;  // the last to become one is the first heir
};

struct ReferenceCall {
  int32_t queue = 0;
  Priority priority = Priority::kInteractive;
  TimePoint deadline;
  bool promised = false;
  double ns_per_token = 0;  // by what was known when it came
  std::vector<ReferenceTask> tasks;
  // What became of them.
  int64_t finished = 0;
  int64_t aborted = 0;
};

struct ReferenceBatch {
  int32_t queue = -1;
  std::vector<ReferenceTask> tasks;
  std::vector<ReferenceTask> twins;
  int64_t cost = 0;
};

// The answer to a request, and by how much time it might have been another one.
struct Verdict {
  enum Kind { kAccepted, kLate, kTooLarge, kFull, kTooLate } kind = kAccepted;
  Duration slack = Duration::max();
};

class ReferenceBatcher {
 public:
  explicit ReferenceBatcher(const QueueBounds& total) : total_(total) {}

  void AddQueue(int32_t id, const QueueOptions& options) { queues_[id].options = options; }
  void RemoveQueue(int32_t id) {
    queues_.erase(id);
    if (step_ && step_->queue == id) step_.reset();
  }
  bool CanRemove(int32_t id) const;

  Verdict Judge(const ReferenceCall& call, TimePoint now);
  void Accept(int32_t id, ReferenceCall call, TimePoint now);
  void Cancel(int32_t id);
  // Aborts what is late.
  void Expire(TimePoint now);
  bool HasWork(TimePoint now) const;
  TimePoint EarliestDeadline() const;
  const ReferenceBatch& NextBatch(TimePoint now);
  // The step took so long; 0: it failed.
  void Seal(Duration took, TimePoint now);
  void Complete();
  // The executor asks for more.
  void EndStep() { step_.reset(); }
  void Teach(int32_t queue, int64_t tokens, Duration took, TimePoint now);

  const std::map<int32_t, ReferenceCall>& calls() const { return calls_; }
  bool running() const { return running_.queue >= 0; }
  int64_t Inputs(int32_t queue, Priority priority) const;
  int64_t Tokens(int32_t queue, Priority priority) const;
  Duration ExpectedWait(TimePoint now) const {
    return Wait(Priority::kInteractive, TimePoint::max(), now);
  }

 private:
  static constexpr double kMargin = 1.25;
  static constexpr Priority kBothClasses[] = {Priority::kInteractive, Priority::kBulk};

  static Duration Ns(double value) { return Duration(static_cast<int64_t>(value)); }
  static Duration Times(Duration duration, double factor) {
    return Ns(static_cast<double>(duration.count()) * factor);
  }

  struct Queue {
    QueueOptions options;
    std::vector<ReferenceTask> waiting;
    StepModel steps;
    TimePoint learned = TimePoint::min();
    double credit = 0;

    double share() const {
      return static_cast<double>(options.bulk_weight) / options.interactive_weight;
    }
    double ns_per_token() const {
      return steps.ns_per_token() +
             steps.fixed_ns() / static_cast<double>(options.batch_token_budget);
    }
    Duration Steps(int64_t tokens) const;
  };
  struct Step {
    int32_t queue;
    int64_t cost;
    TimePoint began;
    Duration predicted;
  };

  const ReferenceCall& CallOf(const ReferenceTask& task) const { return calls_.at(task.call); }
  bool Before(const ReferenceTask& a, const ReferenceTask& b) const;
  std::vector<ReferenceTask> Sorted(const Queue& queue, Priority priority) const;
  const ReferenceTask* First(const Queue& queue, Priority priority) const;
  // The calls that wait, in order.
  std::vector<int32_t> Waiting(Priority priority) const;
  // Tokens that are to be computed: a task's twins cost nothing.
  int64_t Charged(int32_t call) const;
  Duration Work(int32_t call) const;
  Duration Work(Priority priority, TimePoint due_by) const;
  Duration Wait(Priority priority, TimePoint deadline, TimePoint now) const;
  Duration StepLeft(TimePoint now, double margin) const;
  double BulkShare() const;
  Duration SlackOfPromises(const ReferenceCall& call, int64_t tokens, TimePoint now);
  // How long before its promises after `deadline` the device could turn to them, if a step of the
  // queue ended at `end`. What is lost anyway is promised no more.
  Duration SlackAt(TimePoint end, int32_t queue, TimePoint deadline, TimePoint now);
  Duration FirstSteps(int32_t queue, TimePoint due_by) const;
  bool Passes(const ReferenceTask& task) const;

  void Drop(int32_t id);
  void Withdraw(Queue& queue, const ReferenceTask& task);
  void Join(Queue& queue, ReferenceTask task);
  int32_t Choose() const;
  bool Take(Queue& queue, Priority priority, double most_cost, TimePoint now);

  const QueueBounds total_;
  std::map<int32_t, Queue> queues_;
  std::map<int32_t, ReferenceCall> calls_;
  ReferenceBatch running_;
  bool sealed_ = false;
  TimePoint end_by_;
  std::optional<Step> step_;
  ArrivalRate interactive_load_{std::chrono::seconds(1)};
  int64_t arrivals_ = 0;
  int64_t twins_ = 0;
};

}  // namespace contextpool::engine
