// Work that is taken out of the queue: it expired, or its caller gave up.
#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::milliseconds;
using ::testing::ElementsAre;

using BatcherWithdrawalTest = BatcherTest;

TEST_F(BatcherWithdrawalTest, WorkExpiresAtItsDeadlineWhileAnotherBatchRuns) {
  Accept(NewCall("running", {100}));
  Next();
  const TimePoint deadline = clock_.Now() + milliseconds(5);
  TestCall& late = Accept(NewCall("late", {10, 10, 10}).DueIn(milliseconds(5)));
  late.on_abort = [&] { EXPECT_EQ(clock_.Now(), deadline); };
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(late.aborted(), 3);
  EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded);
  ExpectEmpty(queue_);
}

TEST_F(BatcherWithdrawalTest, TheEarliestDeadlineOfAllModelsAndClassesExpiresFirst) {
  const QueueId other = AddQueue(Options());
  TestCall& third = Accept(NewCall("third", {10}).DueIn(milliseconds(9)));
  TestCall& first = Accept(NewCall("first", {10}).DueIn(milliseconds(5)).On(other).Bulk());
  TestCall& second = Accept(NewCall("second", {10}).DueIn(milliseconds(7)));
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(first.aborted(), 1);
  EXPECT_EQ(second.aborted(), 0);
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(second.aborted(), 1);
  EXPECT_EQ(third.aborted(), 0);
}

TEST_F(BatcherWithdrawalTest, EverythingThatIsLateExpiresAtOnce) {
  const QueueId other = AddQueue(Options());
  std::vector<TestCall*> late;
  for (const QueueId queue : {queue_, other}) {
    late.push_back(&Accept(NewCall("bulk", {10}).DueIn(milliseconds(5)).On(queue).Bulk()));
    late.push_back(&Accept(NewCall("interactive", {10}).DueIn(milliseconds(4)).On(queue)));
    late.push_back(&Accept(NewCall("interactive", {10}).DueIn(milliseconds(5)).On(queue)));
  }
  TestCall& intime = Accept(NewCall("in time", {10}).DueIn(milliseconds(6)));
  clock_.Advance(milliseconds(5));
  EXPECT_TRUE(batcher_.ExpireNext());
  for (const TestCall* call : late) EXPECT_EQ(call->aborted(), 1);
  EXPECT_EQ(intime.aborted(), 0);
}

TEST_F(BatcherWithdrawalTest, AWaitForExpiryHeedsWorkThatIsDueEarlier) {
  TestCall& late = Accept(NewCall("late", {10}).DueIn(milliseconds(50)));
  TestCall& urgent = NewCall("urgent", {10}).DueIn(milliseconds(5));
  clock_.DuringAWait([&] { Accept(urgent); });
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(urgent.aborted(), 1);
  EXPECT_EQ(late.aborted(), 0);
  EXPECT_THAT(clock_.waits(), ElementsAre(milliseconds(50), milliseconds(5)));
}

TEST_F(BatcherWithdrawalTest, ExpiredWorkIsNotComputed) {
  TestCall& late = Accept(NewCall("late", {10}).DueIn(milliseconds(5)));
  Accept(NewCall("other", {10}));
  clock_.Advance(milliseconds(5));
  EXPECT_THAT(Next(), ElementsAre("other"));
  EXPECT_EQ(late.aborted(), 1);
  EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(BatcherWithdrawalTest, WorkIsComputedUntilJustBeforeItsDeadline) {
  Accept(NewCall("call", {10}).DueIn(milliseconds(5)));
  clock_.Advance(milliseconds(5) - Duration(1));
  EXPECT_THAT(Next(), ElementsAre("call"));
}

TEST_F(BatcherWithdrawalTest, WhatIsBeingComputedDoesNotExpire) {
  TestCall& call = Accept(NewCall("call", {60, 60}).DueIn(milliseconds(5)));
  EXPECT_THAT(Next(), ElementsAre("call0"));
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(call.aborted(), 1) << "the task that still waited";
  Complete();
  EXPECT_EQ(call.finished(), 1);
}

TEST_F(BatcherWithdrawalTest, WorkThatIsLateAlreadyIsRefused) {
  EXPECT_EQ(Enqueue(NewCall("call", {10}).DueIn(Duration::zero())).code(),
            absl::StatusCode::kDeadlineExceeded);
  ExpectEmpty(queue_);
}

TEST_F(BatcherWithdrawalTest, CancelledWorkLeavesTheQueueAndIsAnsweredAtOnce) {
  TestCall& call = Accept(NewCall("call", {10, 20, 30}));
  Accept(NewCall("other", {10}));
  batcher_.Cancel(call.work());
  EXPECT_EQ(call.aborted(), 3);
  EXPECT_EQ(call.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(batcher_.Depth(queue_).tokens[0], 10);
  EXPECT_THAT(Next(), ElementsAre("other"));
}

TEST_F(BatcherWithdrawalTest, CancellingAPartlyComputedRequestTakesOutTheRest) {
  TestCall& call = Accept(NewCall("call", {60, 60, 60, 60}));
  EXPECT_THAT(Next(), ElementsAre("call0"));
  EXPECT_THAT(Next(), ElementsAre("call1"));
  batcher_.Cancel(call.work());
  EXPECT_EQ(call.aborted(), 2);
  ExpectEmpty(queue_);
  Complete();
  EXPECT_EQ(call.finished(), 2);
}

TEST_F(BatcherWithdrawalTest, CancellingWhatIsBeingComputedChangesNothing) {
  TestCall& call = Accept(NewCall("call", {10}));
  call.on_abort = [] { ADD_FAILURE() << "nothing is left to abort"; };
  Next();
  batcher_.Cancel(call.work());
  Complete();
  EXPECT_EQ(call.finished(), 1);
}

TEST_F(BatcherWithdrawalTest, CancellingTwiceAnswersOnce) {
  TestCall& call = Accept(NewCall("call", {10}));
  int answers = 0;
  call.on_abort = [&] { ++answers; };
  batcher_.Cancel(call.work());
  batcher_.Cancel(call.work());
  EXPECT_EQ(answers, 1);
}

TEST_F(BatcherWithdrawalTest, WorkCancelledBeforeItWasQueuedIsRefused) {
  std::stop_source caller;
  TestCall& call = NewCall("call", {10}).StoppedBy(caller);
  call.on_abort = [] { ADD_FAILURE() << "the caller of Enqueue answers"; };
  caller.request_stop();
  batcher_.Cancel(call.work());
  EXPECT_EQ(Enqueue(call).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(call.answered(), 0);
  ExpectEmpty(queue_);
}

TEST_F(BatcherWithdrawalTest, TasksAreAnsweredOutsideOfTheLock) {
  std::vector<TestCall*> calls;
  for (const int deadline : {5, 7, 9}) {
    calls.push_back(&Accept(NewCall("call", {10}).DueIn(milliseconds(deadline))));
    calls.back()->on_abort = [&] { batcher_.Depth(queue_); };  // would wait for ever
  }
  batcher_.Cancel(calls[2]->work());
  EXPECT_TRUE(batcher_.ExpireNext());
  clock_.Advance(milliseconds(2));
  Accept(NewCall("other", {10}));
  EXPECT_THAT(Next(), ElementsAre("other"));
  for (const TestCall* call : calls) EXPECT_EQ(call->aborted(), 1);
}

TEST_F(BatcherWithdrawalTest, TheBooksAreEmptyAfterEveryWayOut) {
  const QueueId queue = AddQueue(Options());
  const auto call = [&](const char* name) -> TestCall& {
    return NewCall(name, {50, 50}).On(queue);
  };
  Accept(call("computed"));
  TestCall& cancelled = Accept(call("cancelled").Bulk());
  Accept(call("expired").DueIn(milliseconds(5)));
  const QueueDepth depth = batcher_.Depth(queue);
  EXPECT_THAT(depth.inputs, ElementsAre(4, 2));
  EXPECT_THAT(depth.tokens, ElementsAre(200, 100));
  EXPECT_EQ(depth.bytes, 300);
  batcher_.Cancel(cancelled.work());
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(batcher_.Depth(queue).bytes, 100);
  EXPECT_THAT(Next(), ElementsAre("computed0", "computed1"));
  ExpectEmpty(queue);
}

}  // namespace
}  // namespace contextpool::engine
