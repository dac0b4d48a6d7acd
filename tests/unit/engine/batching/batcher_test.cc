#include "engine/batching/batcher.h"

#include <deque>
#include <random>
#include <thread>
#include <vector>

#include "engine/base/retry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"

namespace contextpool::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Remembers how each task ended.
class Recorder : public Completion {
 public:
  void Finish(Task&, absl::Status) override { FAIL() << "the batcher computes nothing"; }
  void Abort(Task& task, absl::Status status) override {
    aborted.push_back(task.index);
    last = status;
  }
  std::vector<int> aborted;
  absl::Status last;
};

class BatcherTest : public ::testing::Test {
 protected:
  ~BatcherTest() override {
    batcher_.Close();
    Batch batch;
    while (batcher_.NextBatch(batch)) {
    }
  }

  // One request with one task per cost. Task indexes count up over the whole test.
  absl::Status Enqueue(QueueId queue, std::vector<int64_t> costs,
                       Priority priority = Priority::kInteractive,
                       TimePoint deadline = TimePoint::max()) {
    std::vector<Task>& tasks = requests_.emplace_back();
    for (int64_t cost : costs) {
      Task task;
      task.cost = cost;
      task.bytes = cost;
      task.priority = priority;
      task.deadline = deadline;
      task.index = next_index_++;
      task.completion = &recorder_;
      tasks.push_back(task);
    }
    return batcher_.Enqueue(queue, tasks);
  }

  std::vector<int> Next() {
    Batch batch;
    EXPECT_TRUE(batcher_.NextBatch(batch));
    std::vector<int> indexes;
    int64_t cost = 0;
    for (const Task* task : batch.tasks) {
      indexes.push_back(task->index);
      cost += task->cost;
    }
    EXPECT_EQ(batch.cost, cost);
    last_queue_ = batch.queue;
    return indexes;
  }

  testing::FakeClock clock_;
  Batcher batcher_{clock_};
  Recorder recorder_;
  std::deque<std::vector<Task>> requests_;
  int next_index_ = 0;
  QueueId last_queue_ = -1;
};

QueueOptions Budget(int64_t tokens) {
  QueueOptions options;
  options.batch_token_budget = tokens;
  return options;
}

TEST_F(BatcherTest, MergesRequestsOfDifferentCallersUpToTheBudget) {
  const QueueId queue = batcher_.AddQueue(Budget(100));
  ASSERT_TRUE(Enqueue(queue, {40}).ok());
  ASSERT_TRUE(Enqueue(queue, {40}).ok());
  ASSERT_TRUE(Enqueue(queue, {20}).ok());
  ASSERT_TRUE(Enqueue(queue, {1}).ok());
  EXPECT_THAT(Next(), ElementsAre(0, 1, 2));
  EXPECT_THAT(Next(), ElementsAre(3));
}

TEST_F(BatcherTest, SplitsOneLargeRequestOverBatches) {
  const QueueId queue = batcher_.AddQueue(Budget(100));
  ASSERT_TRUE(Enqueue(queue, {60, 60, 60}).ok());
  EXPECT_THAT(Next(), ElementsAre(0));
  EXPECT_THAT(Next(), ElementsAre(1));
  EXPECT_THAT(Next(), ElementsAre(2));
}

TEST_F(BatcherTest, CutsAtTheLargestNumberOfInputs) {
  QueueOptions options = Budget(100);
  options.batch_max_inputs = 2;
  const QueueId queue = batcher_.AddQueue(options);
  ASSERT_TRUE(Enqueue(queue, {1, 1, 1}).ok());
  EXPECT_THAT(Next(), ElementsAre(0, 1));
  EXPECT_THAT(Next(), ElementsAre(2));
}

TEST_F(BatcherTest, InteractiveWorkPassesBulkWork) {
  const QueueId queue = batcher_.AddQueue(Budget(100));
  ASSERT_TRUE(Enqueue(queue, {100}, Priority::kBulk).ok());
  clock_.Advance(milliseconds(10));
  ASSERT_TRUE(Enqueue(queue, {100}).ok());
  EXPECT_THAT(Next(), ElementsAre(1));
  EXPECT_THAT(Next(), ElementsAre(0));
}

TEST_F(BatcherTest, BulkWorkThatWaitedForTheHandicapIsNotPassed) {
  const QueueId queue = batcher_.AddQueue(Budget(100));
  ASSERT_TRUE(Enqueue(queue, {100}, Priority::kBulk).ok());
  clock_.Advance(Batcher::kBulkHandicap + milliseconds(1));
  ASSERT_TRUE(Enqueue(queue, {100}).ok());
  EXPECT_THAT(Next(), ElementsAre(0));
  EXPECT_THAT(Next(), ElementsAre(1));
}

TEST_F(BatcherTest, BulkWorkFillsWhatInteractiveWorkLeavesOpen) {
  const QueueId queue = batcher_.AddQueue(Budget(100));
  ASSERT_TRUE(Enqueue(queue, {50, 50}, Priority::kBulk).ok());
  ASSERT_TRUE(Enqueue(queue, {50}).ok());
  EXPECT_THAT(Next(), ElementsAre(2, 0));
  EXPECT_THAT(Next(), ElementsAre(1));
}

TEST_F(BatcherTest, ServesTheQueueWhoseWorkStandsLongest) {
  const QueueId first = batcher_.AddQueue(Budget(100));
  const QueueId second = batcher_.AddQueue(Budget(100));
  ASSERT_TRUE(Enqueue(second, {10}).ok());
  clock_.Advance(milliseconds(1));
  ASSERT_TRUE(Enqueue(first, {10}).ok());
  EXPECT_THAT(Next(), ElementsAre(0));
  EXPECT_EQ(last_queue_, second);
  EXPECT_THAT(Next(), ElementsAre(1));
  EXPECT_EQ(last_queue_, first);
}

TEST_F(BatcherTest, ExpiredWorkIsAbortedAndNeverHandedOut) {
  const QueueId queue = batcher_.AddQueue(Budget(100));
  ASSERT_TRUE(Enqueue(queue, {10}, Priority::kInteractive, clock_.Now() + milliseconds(5)).ok());
  ASSERT_TRUE(Enqueue(queue, {10}).ok());
  clock_.Advance(milliseconds(5));
  EXPECT_THAT(Next(), ElementsAre(1));
  EXPECT_THAT(recorder_.aborted, ElementsAre(0));
  EXPECT_EQ(recorder_.last.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(batcher_.Depth(queue).inputs[0], 0);
}

TEST_F(BatcherTest, FullQueueRefusesTheWholeRequestAndSaysWhenToRetry) {
  QueueOptions options = Budget(100);
  options.max_tokens = 200;
  const QueueId queue = batcher_.AddQueue(options);
  ASSERT_TRUE(Enqueue(queue, {100, 50}).ok());
  const absl::Status status = Enqueue(queue, {30, 30});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("150 of 200 tokens"));
  ASSERT_TRUE(RetryDelay(status).has_value());
  EXPECT_GT(*RetryDelay(status), Duration::zero());
  EXPECT_EQ(batcher_.Depth(queue).inputs[0], 2);
  EXPECT_EQ(batcher_.Depth(queue).tokens[0], 150);
  EXPECT_THAT(Next(), ElementsAre(0));
  EXPECT_TRUE(Enqueue(queue, {30, 30}).ok()) << "room that was freed is given out again";
}

TEST_F(BatcherTest, RetryDelayFollowsTheDrainRate) {
  QueueOptions options = Budget(100);
  options.max_tokens = 200;
  const QueueId queue = batcher_.AddQueue(options);
  ASSERT_TRUE(Enqueue(queue, {100, 100}).ok());
  Next();
  clock_.Advance(seconds(1));  // 100 tokens took a second
  ASSERT_TRUE(Enqueue(queue, {100}).ok());
  Next();
  ASSERT_TRUE(Enqueue(queue, {100}).ok());
  const absl::Status status = Enqueue(queue, {1});
  ASSERT_TRUE(RetryDelay(status).has_value());
  EXPECT_NEAR(Seconds(*RetryDelay(status)), 2.0, 0.01);
}

TEST_F(BatcherTest, RequestLargerThanTheWholeQueueIsRefusedForGood) {
  QueueOptions options = Budget(100);
  options.max_inputs = 2;
  const QueueId queue = batcher_.AddQueue(options);
  const absl::Status status = Enqueue(queue, {1, 1, 1});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(RetryDelay(status).has_value());
}

TEST_F(BatcherTest, BoundsBytes) {
  QueueOptions options = Budget(100);
  options.max_bytes = 99;
  const QueueId queue = batcher_.AddQueue(options);
  ASSERT_TRUE(Enqueue(queue, {50}).ok());
  EXPECT_EQ(Enqueue(queue, {50}).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(BatcherTest, ClosedBatcherHandsOutWhatIsQueuedAndRefusesTheRest) {
  const QueueId queue = batcher_.AddQueue(Budget(100));
  ASSERT_TRUE(Enqueue(queue, {10}).ok());
  batcher_.Close();
  EXPECT_EQ(Enqueue(queue, {10}).code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Next(), ElementsAre(0));
  Batch batch;
  EXPECT_FALSE(batcher_.NextBatch(batch));
}

TEST_F(BatcherTest, WaitingExecutorWakesForWorkAndForTheEnd) {
  const QueueId queue = batcher_.AddQueue(Budget(100));
  std::vector<int> seen;
  std::thread executor([&] {
    Batch batch;
    while (batcher_.NextBatch(batch)) {
      for (const Task* task : batch.tasks) seen.push_back(task->index);
    }
  });
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Enqueue(queue, {1}).ok());
  batcher_.Close();
  executor.join();
  ASSERT_EQ(seen.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seen[i], i);
}

TEST(BatcherStressTest, EveryTaskOfManyThreadsIsHandedOutExactlyOnce) {
  constexpr int kThreads = 4;
  constexpr int kTasks = 5000;
  Batcher batcher(Clock::Real());
  const QueueId queue = batcher.AddQueue(Budget(64));
  Recorder recorder;
  std::vector<std::vector<Task>> tasks(kThreads, std::vector<Task>(kTasks));
  std::vector<int> handed_out(kThreads * kTasks, 0);
  std::thread executor([&] {
    Batch batch;
    while (batcher.NextBatch(batch)) {
      ASSERT_LE(batch.cost, 64);
      for (const Task* task : batch.tasks) ++handed_out[task->index];
    }
  });
  std::vector<std::thread> callers;
  for (int t = 0; t < kThreads; ++t) {
    callers.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < kTasks; ++i) {
        Task& task = tasks[t][i];
        task.index = t * kTasks + i;
        task.cost = 1 + static_cast<int64_t>(random() % 64);
        task.priority = random() % 4 == 0 ? Priority::kBulk : Priority::kInteractive;
        task.completion = &recorder;
        while (!batcher.Enqueue(queue, std::span<Task>(&task, 1)).ok()) std::this_thread::yield();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  batcher.Close();
  executor.join();
  for (int count : handed_out) ASSERT_EQ(count, 1);
}

}  // namespace
}  // namespace contextpool::engine
