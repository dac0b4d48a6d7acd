// Callers, an executor and a clock for tests of the batcher, all in one thread.
#pragma once

#include <deque>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/batching/batcher.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"

namespace contextpool::engine {

// A clock whose waits are the test's: what is to happen meanwhile happens inside of them. A wait
// for which nothing is left to happen lasts to its end.
class ScriptedClock : public testing::FakeClock {
 public:
  void DuringAWait(std::function<void()> event) { events_.push_back(std::move(event)); }
  // After the next wait, with the waiter's mutex held: a thread that `event` starts gets the mutex
  // once the waiter waits for something else.
  void AfterAWait(std::function<void()> event) { after_ = std::move(event); }
  // How long each wait would have lasted.
  const std::vector<Duration>& waits() const { return waits_; }

  void WaitUntil(CondVar&, Mutex& mutex, TimePoint deadline) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    waits_.push_back(deadline - Now());
    mutex.Unlock();
    if (events_.empty()) {
      Advance(waits_.back());
    } else {
      const std::function<void()> event = std::move(events_.front());
      events_.pop_front();
      event();
    }
    mutex.Lock();
    if (const auto event = std::exchange(after_, nullptr)) event();
  }

 private:
  std::deque<std::function<void()>> events_;
  std::function<void()> after_;
  std::vector<Duration> waits_;
};

// One request, and what became of its tasks.
class TestCall final : public Completion {
 public:
  // One task of so many tokens each, and as many bytes. No two have the same input.
  TestCall(std::string name, const std::vector<int64_t>& costs, QueueId queue, const Clock& clock)
      : name_(std::move(name)), queue_(queue), clock_(clock), tasks_(costs.size()) {
    finished_.resize(costs.size());
    for (size_t i = 0; i < costs.size(); ++i) {
      tasks_[i].cost = tasks_[i].bytes = costs[i];
      tasks_[i].index = static_cast<int32_t>(i);
      tasks_[i].completion = this;
      tasks_[i].token_ids = {texts_.emplace_back(std::vector<int32_t>{next_text_++})};
    }
    work_.tasks = tasks_;
    work_.completion = this;
  }
  TestCall(const TestCall&) = delete;
  TestCall& operator=(const TestCall&) = delete;

  TestCall& On(QueueId queue) {
    queue_ = queue;
    return *this;
  }
  TestCall& Bulk() {
    work_.priority = Priority::kBulk;
    return *this;
  }
  TestCall& DueIn(Duration time) {
    work_.deadline = clock_.Now() + time;
    work_.promised = true;
    return *this;
  }
  // As for a caller who names no deadline: it has the server's.
  TestCall& DueByDefaultIn(Duration time) {
    DueIn(time);
    work_.promised = false;
    return *this;
  }
  TestCall& StoppedBy(const std::stop_source& caller) {
    work_.stop = caller.get_token();
    return *this;
  }
  // The tasks' inputs, instead of ones of their own.
  TestCall& Saying(const std::vector<std::vector<int32_t>>& texts) {
    for (size_t i = 0; i < texts.size(); ++i) {
      tasks_[i].token_ids = {texts_.emplace_back(texts[i])};
    }
    return *this;
  }
  TestCall& Wanting(const OutputSpec& output) {
    for (Task& task : tasks_) task.output = output;
    return *this;
  }

  void Finish(Task& task, absl::Status) override { ++finished_[task.index]; }
  void Abort(int64_t tasks, absl::Status status) override {
    aborted_ += tasks;
    status_ = std::move(status);
    if (on_abort) on_abort();
  }

  // Of a task, as tests name it.
  std::string NameOf(const Task& task) const {
    return tasks_.size() == 1 ? name_ : name_ + std::to_string(task.index);
  }
  Submission& work() { return work_; }
  QueueId queue() const { return queue_; }
  int64_t size() const { return static_cast<int64_t>(tasks_.size()); }
  const Task& task(int index) const { return tasks_[index]; }
  int64_t finished() const { return std::accumulate(finished_.begin(), finished_.end(), 0); }
  int64_t aborted() const { return aborted_; }
  int64_t answered() const { return finished() + aborted_; }
  const absl::Status& status() const { return status_; }

  // Called by Abort.
  std::function<void()> on_abort;

 private:
  inline static int32_t next_text_ = 1000;

  const std::string name_;
  QueueId queue_;
  const Clock& clock_;
  Submission work_;
  std::vector<Task> tasks_;
  std::deque<std::vector<int32_t>> texts_;
  std::vector<int> finished_;
  int64_t aborted_ = 0;
  absl::Status status_;
};

// Every test ends with a drain, after which each accepted task must have been answered once and
// the books must be empty.
class BatcherTest : public ::testing::Test {
 protected:
  static constexpr int64_t kBudget = 100;

  explicit BatcherTest(const QueueBounds& total = {}) : batcher_(clock_, total) {}

  ~BatcherTest() override {
    batcher_.Close();
    Complete();
    while (batcher_.NextBatch(batch_)) {
      running_ = true;
      began_ = clock_.Now();
      Complete();
    }
    for (TestCall& call : calls_) {
      EXPECT_EQ(call.answered(), call.work().queue < 0 ? 0 : call.size());
    }
    for (const QueueId queue : queues_) ExpectEmpty(queue);
  }

  static QueueOptions Options() {
    QueueOptions options;
    options.batch_token_budget = kBudget;
    return options;
  }

  QueueId AddQueue(const QueueOptions& options) {
    return queues_.emplace_back(batcher_.AddQueue(options));
  }
  void RemoveQueue(QueueId queue) {
    batcher_.RemoveQueue(queue);
    std::erase(queues_, queue);
  }

  TestCall& NewCall(const std::string& name, const std::vector<int64_t>& costs) {
    return calls_.emplace_back(name, costs, queue_, clock_);
  }
  absl::Status Enqueue(TestCall& call) { return batcher_.Enqueue(call.queue(), call.work()); }
  TestCall& Accept(TestCall& call) {
    const absl::Status status = Enqueue(call);
    EXPECT_TRUE(status.ok()) << status;
    return call;
  }

  // The next batch's tasks. Completes the one before.
  std::vector<std::string> Next() {
    Complete();
    EXPECT_TRUE(batcher_.NextBatch(batch_));
    std::vector<std::string> names;
    int64_t cost = 0;
    for (const Task* task : batch_.tasks) {
      names.push_back(static_cast<TestCall*>(task->completion)->NameOf(*task));
      cost += task->cost;
    }
    EXPECT_EQ(batch_.cost, cost);
    running_ = true;
    began_ = clock_.Now();
    return names;
  }

  // The step ends now.
  void Seal() {
    batch_.took = clock_.Now() - began_;
    SealFailed();
  }
  void SealFailed() {
    batcher_.Seal(batch_);
    sealed_ = true;
  }

  // Answers the running batch's tasks and their twins.
  void Complete() {
    if (!std::exchange(running_, false)) return;
    if (!sealed_) Seal();
    sealed_ = false;
    for (Task* task : batch_.tasks) {
      while (task != nullptr) {
        Task* const next = task->twin;
        task->completion->Finish(*task, absl::OkStatus());
        task = next;
      }
    }
  }

  // Lets the device have nothing to do. (A step ends when the executor asks for the next batch, or
  // when its queue is removed.)
  void BecomeIdle() {
    const QueueId other = AddQueue(Options());
    Accept(NewCall("other", {1}).On(other));
    Next();
    Complete();
    RemoveQueue(other);
  }

  // Teaches that a step takes fixed + per_token * tokens.
  void Teach(QueueId queue, Duration fixed, Duration per_token) {
    for (const int64_t tokens : {kBudget / 4, kBudget}) {
      batcher_.Teach(queue, tokens, fixed + per_token * tokens);
    }
  }

  void ExpectEmpty(QueueId queue) {
    const QueueDepth depth = batcher_.Depth(queue);
    EXPECT_THAT(depth.inputs, ::testing::Each(0));
    EXPECT_THAT(depth.tokens, ::testing::Each(0));
    EXPECT_EQ(depth.bytes, 0);
  }

  ScriptedClock clock_;
  Batcher batcher_;
  std::vector<QueueId> queues_;
  const QueueId queue_ = AddQueue(Options());
  std::deque<TestCall> calls_;
  Batch batch_;

 private:
  bool running_ = false;
  TimePoint began_{};
  bool sealed_ = false;
};

}  // namespace contextpool::engine
