// Decides what the device does next, and what is worth accepting at all.
//
// Work of many callers waits in one queue per model; all queues of a device share one batcher, and
// the device's executor asks for the next batch when it is free, so nothing is committed to a batch
// while it could still be overtaken. The batcher knows what a task costs, how urgent it is and when
// it expires; it knows no model, no device and no wire. docs/batching.md derives the formulas.
//
// Order. Inside a class (interactive, bulk) the earliest deadline goes first, then the earliest
// arrival. A batch comes from the queue with the most urgent interactive work, takes its first
// task, then bulk work for which the queue has credit, then interactive and last bulk work, each in
// order until the next task would exceed the token budget, the time that a task of the batch has
// left, or what more urgent work of other queues was promised. While bulk work waits, each
// interactive token that the device computes earns its queue bulk_weight / interactive_weight
// tokens of credit; a queue whose credit has grown to a whole batch is served next, bulk first. So
// a call never waits for more bulk work than the running step, except for one batch after every
// budget * interactive_weight / bulk_weight interactive tokens, and bulk work cannot starve.
//
// Company. A device with little to do may wait for more work, if that saves more than it costs: n
// waiting inputs lose n * g while the next arrival takes g, and a step that is not made saves its
// fixed time. Where arrivals are rarer than that, an idle device starts at once.
//
// Twins. Inputs with the same token ids and output are computed once, also if one arrives while the
// other is being computed. Each keeps its own place, deadline and caller until one of them is
// taken.
//
// Bounds. A queue holds at most its max_inputs, max_tokens and max_bytes, all queues together at
// most the total. A request is accepted only if it can be expected to be done by its deadline, and
// if interactive work that was accepted before, and brought a deadline of its own, can still be,
// should the bulk work that waited when it came take its whole share.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/batch.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/base/options.h"
#include "engine/base/task.h"
#include "engine/batching/schedule.h"
#include "engine/batching/step_model.h"
#include "engine/batching/submission.h"
#include "engine/batching/twin_index.h"

namespace contextpool::engine {

// What waits in one queue, by priority.
struct QueueDepth {
  std::array<int64_t, kPriorities> inputs{};
  std::array<int64_t, kPriorities> tokens{};
  int64_t bytes = 0;
  // What an interactive request without a deadline would wait now.
  Duration expected_wait{};
};

// Thread safe. Many threads enqueue and cancel, one executor takes batches, one thread expires what
// is late. Must be empty when destroyed. Tasks are answered outside of the batcher's lock.
class Batcher final : public BatchSource {
 public:
  explicit Batcher(Clock& clock, const QueueBounds& total = EngineOptions().queue);
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // REQUIRES: batch_token_budget, batch_max_inputs and the weights are positive.
  QueueId AddQueue(const QueueOptions& options);

  // Lets the batcher know how long a step of the queue takes before it had one.
  void Teach(QueueId queue, int64_t tokens, Duration took);

  // The id may be given to another queue afterwards. REQUIRES: nothing of the queue waits or is
  // being computed.
  void RemoveQueue(QueueId queue);

  // Whether a request of so many inputs, tokens (0: not known yet) and bytes would find room now:
  // asked before the work of tokenising or decoding. Errors as Enqueue.
  absl::Status CheckRoom(QueueId queue, int64_t inputs, int64_t tokens, int64_t bytes) const;

  // Queues all of a request's tasks or, on error, none; the batcher points to them until each is
  // handed out by NextBatch or aborted. REQUIRES: there is a task.
  //
  // INVALID_ARGUMENT: larger than the whole queue, or a task larger than a batch.
  // RESOURCE_EXHAUSTED: no room now, or not done by the deadline; carries a RetryDelay.
  // DEADLINE_EXCEEDED, CANCELLED: too late already. UNAVAILABLE: closed.
  absl::Status Enqueue(QueueId queue, Submission& work);

  // Aborts with CANCELLED what of the request still waits. What is being computed goes on. May be
  // called before Enqueue, which then sees work.stop. REQUIRES: the request is not answered yet.
  void Cancel(Submission& work);

  // Waits for work and fills `batch` with at least one task. False: closed and empty.
  bool NextBatch(Batch& batch) override;
  void Seal(Batch& batch) override;

  // Waits until work expires, and aborts it with DEADLINE_EXCEEDED. False: closed and empty.
  bool ExpireNext();

  // Refuses new work from now on; NextBatch hands out what is queued.
  void Close();

  QueueDepth Depth(QueueId queue) const;

 private:
  // What waits, or what a request adds to it.
  struct Load {
    int64_t inputs = 0;
    int64_t tokens = 0;
    int64_t bytes = 0;
    // Tokens of the largest task.
    int64_t largest = 0;
  };
  struct Queue {
    QueueId id = -1;
    QueueOptions options;
    std::array<Schedule, kPriorities> waiting;
    QueueDepth depth;
    Load load;
    TwinIndex twins;
    StepModel steps;
    TimePoint learned = TimePoint::min();  // when the model last saw a step
    ArrivalRate arrivals{kArrivalMemory};
    // Tokens of bulk work that are owed.
    double credit = 0;

    Schedule& of(Priority priority) { return waiting[static_cast<size_t>(priority)]; }
    const Schedule& of(Priority priority) const { return waiting[static_cast<size_t>(priority)]; }
    // What a token takes in full batches.
    double ns_per_token() const {
      return steps.ns_per_token() +
             steps.fixed_ns() / static_cast<double>(options.batch_token_budget);
    }
    double bulk_share() const {
      return static_cast<double>(options.bulk_weight) / options.interactive_weight;
    }
    bool owes_a_batch() const {
      return credit >= static_cast<double>(options.batch_token_budget) &&
             !of(Priority::kBulk).empty();
    }
  };
  // The batch that the executor has.
  struct Running {
    Queue* queue = nullptr;  // null: it has none
    TimePoint began{};
    Duration predicted{};
  };
  // Requests whose waiting tasks were taken out, linked through Submission::next_dropped.
  struct Dropped {
    Submission* first = nullptr;
    void Push(Submission& work);
  };

  static constexpr Duration kArrivalMemory = std::chrono::milliseconds(50);
  static constexpr Duration kLoadMemory = std::chrono::seconds(1);
  // What should take a time is given so much more of it, since steps vary.
  static constexpr double kMargin = 1.25;

  static Load LoadOf(const Submission& work);
  static void Abort(Dropped& dropped, const absl::Status& status);

  // Admission, in admission.cc.
  absl::Status CheckRoom(const Queue& queue, const Load& load, TimePoint now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckDeadline(const Queue& queue, const Submission& work, const Load& load,
                             TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether what was accepted is still done in time if a step of `step` goes first.
  absl::Status CheckPromises(const Queue& queue, TimePoint deadline, Duration step, TimePoint now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // By when a step of the queue must end to keep what is promised for after `deadline`. Forgets
  // promises that are lost whether it begins or not and would not let it end at `end`.
  TimePoint LatestStart(const Queue& queue, TimePoint deadline, TimePoint end, TimePoint now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What the schedule, which thinks of full batches, forgets: the fixed part of a first batch,
  // which may be small, of each other queue with interactive work that is due by then.
  Duration FirstSteps(const Queue& queue, TimePoint due_by) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the entry cannot be kept even without the margin.
  bool IsLost(const Schedule::Tightest& promise, TimePoint now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Duration RunningLeft(TimePoint now, double margin) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Until work of this class and deadline begins, with the margin.
  Duration ExpectedWait(Priority priority, TimePoint deadline, TimePoint now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  double BulkShare() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Keeping the books of what waits.
  void Add(Queue& queue, Submission& work, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddTask(Queue& queue, Submission& work, Task& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Insert(Queue& queue, Submission& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sets for how many tokens the task counts as work.
  void Charge(Task& task, int64_t tokens) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(Queue& queue, Task& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Drop(Queue& queue, Submission& work, Dropped& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropExpired(TimePoint now, Dropped& expired) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  TimePoint EarliestDeadline() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void NotifyIfDone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Which work the next batch takes, in cutting.cc.
  struct Cutting {
    Queue& queue;
    Batch& batch;
    TimePoint now;
    // By when what the batch holds must be done.
    TimePoint end_by = TimePoint::max();
  };
  Queue* WaitForWork() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Queue* MostUrgent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  TimePoint CompanyUntil(const Queue& queue, TimePoint now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Cut(Cutting cutting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes bulk work while the queue has credit for it.
  void TakeOwed(Cutting& cutting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // As TakeOne, but does not pass more urgent work that would miss its deadline then.
  bool Fill(Cutting& cutting, Priority priority) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `until`, but later by the margin on what lies between.
  static TimePoint WithMargin(TimePoint from, TimePoint until);
  // When the batch would be done with another task, with the margin.
  static TimePoint EndWith(const Cutting& cutting, const Task& task);
  // False: nothing waits, or the next task does not fit.
  bool TakeOne(Cutting& cutting, Priority priority) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HandOut(const Cutting& cutting, Task& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EarnCredit(int64_t interactive_tokens) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void BeginStep(Queue& queue, Batch& batch, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Schedule& on_device(Priority priority) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return device_[static_cast<size_t>(priority)];
  }
  const Schedule& on_device(Priority priority) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return device_[static_cast<size_t>(priority)];
  }

  Clock& clock_;
  const QueueBounds total_bounds_;
  mutable Mutex mutex_;
  // Work arrived, or there will be none.
  CondVar work_;
  // The earliest deadline changed.
  CondVar expiry_;
  std::vector<std::unique_ptr<Queue>> queues_ ABSL_GUARDED_BY(mutex_);  // by QueueId; null: free
  Load total_ ABSL_GUARDED_BY(mutex_);
  // What waits in all queues, with the margin.
  std::array<Schedule, kPriorities> device_ ABSL_GUARDED_BY(mutex_);
  Running running_ ABSL_GUARDED_BY(mutex_);
  // Seconds of interactive work that were accepted, with the margin.
  ArrivalRate interactive_load_ ABSL_GUARDED_BY(mutex_){kLoadMemory};
  int64_t arrivals_ ABSL_GUARDED_BY(mutex_) = 0;  // requests so far
  // What ExpireNext waits for.
  TimePoint expiry_at_ ABSL_GUARDED_BY(mutex_) = TimePoint::max();
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace contextpool::engine
