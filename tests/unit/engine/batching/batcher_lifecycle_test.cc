// Queues that come and go, threads that wait, and the end.
#include <semaphore>
#include <thread>

#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::milliseconds;
using ::std::chrono::seconds;
using ::testing::ElementsAre;

using BatcherLifecycleTest = BatcherTest;

TEST_F(BatcherLifecycleTest, AClosedBatcherHandsOutWhatIsQueuedAndRefusesTheRest) {
  Accept(NewCall("large", {100, 100}));
  Accept(NewCall("bulk", {100}).Bulk());
  batcher_.Close();
  EXPECT_EQ(Enqueue(NewCall("refused", {10})).code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Next(), ElementsAre("large0"));
  EXPECT_THAT(Next(), ElementsAre("large1"));
  EXPECT_THAT(Next(), ElementsAre("bulk"));
  Complete();
  EXPECT_FALSE(batcher_.NextBatch(batch_));
  EXPECT_FALSE(batcher_.NextBatch(batch_)) << "and stays so";
  EXPECT_TRUE(batch_.tasks.empty());
}

TEST_F(BatcherLifecycleTest, WorkStillExpiresWhileABatcherDrains) {
  Accept(NewCall("running", {100}));
  Next();
  TestCall& late = Accept(NewCall("late", {10}).DueIn(milliseconds(5)));
  batcher_.Close();
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(late.aborted(), 1);
  EXPECT_FALSE(batcher_.ExpireNext()) << "nothing waits any more";
}

TEST_F(BatcherLifecycleTest, ABatcherWhoseLastWorkExpiredHandsOutNothing) {
  TestCall& late = Accept(NewCall("late", {10}).DueIn(milliseconds(5)));
  batcher_.Close();
  clock_.Advance(milliseconds(5));
  EXPECT_FALSE(batcher_.NextBatch(batch_));
  EXPECT_EQ(late.aborted(), 1);
}

TEST_F(BatcherLifecycleTest, AQueuesIdIsGivenToTheNextOneOnceItIsGone) {
  const QueueId second = AddQueue(Options());
  const QueueId third = AddQueue(Options());
  EXPECT_NE(second, queue_);
  EXPECT_NE(third, second);
  RemoveQueue(second);
  EXPECT_EQ(AddQueue(Options()), second);
  EXPECT_NE(AddQueue(Options()), third);
}

TEST_F(BatcherLifecycleTest, AQueueThatTookAnIdOverStartsAfresh) {
  const QueueId old = AddQueue(Options());
  Teach(old, Duration::zero(), milliseconds(1));
  RemoveQueue(old);
  ASSERT_EQ(AddQueue(Options()), old);
  Accept(NewCall("call", {100}).On(old));
  EXPECT_EQ(batcher_.Depth(old).expected_wait, Duration::zero()) << "nothing is known yet";
  EXPECT_THAT(Next(), ElementsAre("call"));
  EXPECT_EQ(batch_.predicted, Duration::zero());
}

TEST_F(BatcherLifecycleTest, OtherQueuesGoOnWhenOneIsRemoved) {
  const QueueId removed = AddQueue(Options());
  const QueueId other = AddQueue(Options());
  Accept(NewCall("last", {10}).On(removed));
  Next();
  Complete();
  TestCall& late = Accept(NewCall("late", {10}).On(other).DueIn(milliseconds(5)));
  Accept(NewCall("bulk", {10}).On(other).Bulk());
  RemoveQueue(removed);
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(late.aborted(), 1);
  Accept(NewCall("interactive", {10}).On(other));
  EXPECT_THAT(Next(), ElementsAre("interactive", "bulk"));
}

// A clock on which a wait ends only when somebody notifies.
class Sleepless : public testing::FakeClock {
 public:
  void WaitUntil(CondVar& condition, Mutex& mutex, TimePoint) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    waiting_.release();
    condition.Wait(mutex);
  }
  // False: nobody began to wait in a long time.
  bool SomebodyWaits() { return waiting_.try_acquire_for(seconds(20)); }

 private:
  std::counting_semaphore<> waiting_{0};
};

TEST(BatcherThreadsTest, AThreadThatWaitsForExpiryIsWokenByEarlierDeadlinesAndByTheEnd) {
  Sleepless clock;
  Batcher batcher(clock);
  QueueOptions options;
  options.batch_token_budget = 100;
  const QueueId queue = batcher.AddQueue(options);
  std::thread expiry([&] {
    while (batcher.ExpireNext()) {
    }
  });
  ASSERT_TRUE(clock.SomebodyWaits());
  TestCall late("late", {10}, queue, clock);
  ASSERT_TRUE(batcher.Enqueue(queue, late.DueIn(seconds(9)).work()).ok());
  EXPECT_TRUE(clock.SomebodyWaits()) << "for the first deadline";
  TestCall urgent("urgent", {10}, queue, clock);
  ASSERT_TRUE(batcher.Enqueue(queue, urgent.DueIn(seconds(1)).work()).ok());
  EXPECT_TRUE(clock.SomebodyWaits()) << "for the earlier one";
  batcher.Close();
  EXPECT_TRUE(clock.SomebodyWaits()) << "work still waits";
  batcher.Cancel(urgent.work());
  batcher.Cancel(late.work());
  expiry.join();
}

TEST(BatcherThreadsTest, AnExecutorThatWaitsIsWokenByWorkAndByTheEnd) {
  testing::FakeClock clock;
  Batcher batcher(clock);
  QueueOptions options;
  options.batch_token_budget = 100;
  const QueueId queue = batcher.AddQueue(options);
  std::counting_semaphore<> computed{0};
  std::thread executor([&] {
    Batch batch;
    while (batcher.NextBatch(batch)) {
      batcher.Seal(batch);
      for (Task* task : batch.tasks) task->completion->Finish(*task, absl::OkStatus());
      computed.release();
    }
  });
  for (int i = 0; i < 100; ++i) {
    TestCall call("call", {10}, queue, clock);
    ASSERT_TRUE(batcher.Enqueue(queue, call.work()).ok());
    ASSERT_TRUE(computed.try_acquire_for(seconds(20)));
    EXPECT_EQ(call.finished(), 1);
  }
  batcher.Close();
  executor.join();
}

TEST(BatcherThreadsTest, TheEndOfADrainWakesTheThreadThatWaitsForExpiry) {
  Sleepless clock;
  Batcher batcher(clock);
  QueueOptions options;
  options.batch_token_budget = 100;
  const QueueId queue = batcher.AddQueue(options);
  TestCall call("call", {10}, queue, clock);
  ASSERT_TRUE(batcher.Enqueue(queue, call.work()).ok());
  batcher.Close();
  std::thread expiry([&] { EXPECT_FALSE(batcher.ExpireNext()); });
  ASSERT_TRUE(clock.SomebodyWaits());
  Batch batch;
  ASSERT_TRUE(batcher.NextBatch(batch));
  expiry.join();
  batcher.Seal(batch);
}

}  // namespace
}  // namespace contextpool::engine
