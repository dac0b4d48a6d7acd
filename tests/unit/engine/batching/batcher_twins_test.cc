// Inputs that are the same are computed once.
#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::milliseconds;
using ::testing::ElementsAre;

class BatcherTwinsTest : public BatcherTest {
 protected:
  // One input that all of these share.
  TestCall& Same(const std::string& name, int64_t cost = 40) {
    return NewCall(name, {cost}).Saying({{7, 8, 9}});
  }
};

TEST_F(BatcherTwinsTest, TheSameInputOfTwoCallersIsComputedOnce) {
  TestCall& first = Accept(Same("first"));
  TestCall& second = Accept(Same("second"));
  EXPECT_THAT(Next(), ElementsAre("first"));
  EXPECT_EQ(batch_.cost, 40);
  ExpectEmpty(queue_);
  Complete();
  EXPECT_EQ(first.finished(), 1);
  EXPECT_EQ(second.finished(), 1);
  EXPECT_EQ(second.task(0).taken, first.task(0).taken);
}

TEST_F(BatcherTwinsTest, TwinsAreCountedAgainstTheBoundsInFull) {
  Accept(Same("first"));
  Accept(Same("second"));
  const QueueDepth depth = batcher_.Depth(queue_);
  EXPECT_EQ(depth.inputs[0], 2);
  EXPECT_EQ(depth.tokens[0], 80);
  EXPECT_EQ(depth.bytes, 80);
}

TEST_F(BatcherTwinsTest, TheSameInputTwiceInOneRequestIsComputedOnce) {
  TestCall& call = Accept(NewCall("call", {40, 40, 40}).Saying({{1}, {2}, {1}}));
  EXPECT_THAT(Next(), ElementsAre("call0", "call1"));
  Complete();
  EXPECT_EQ(call.finished(), 3);
}

TEST_F(BatcherTwinsTest, AnInputThatIsBeingComputedIsJoined) {
  Accept(Same("running"));
  Next();
  clock_.Advance(milliseconds(3));
  TestCall& joined = Accept(Same("joined"));
  const TimePoint came = clock_.Now();
  clock_.Advance(milliseconds(3));
  Complete();
  EXPECT_EQ(joined.finished(), 1);
  EXPECT_EQ(joined.task(0).taken, came);
  ExpectEmpty(queue_);
}

TEST_F(BatcherTwinsTest, WhatJoinedARunningBatchCountsAsWaitingButNotAsWork) {
  Teach(queue_, Duration::zero(), milliseconds(1));
  Accept(Same("running"));
  Next();
  const Duration wait = batcher_.Depth(queue_).expected_wait;
  Accept(Same("joined"));
  Accept(Same("joined in bulk").Bulk());
  const QueueDepth depth = batcher_.Depth(queue_);
  EXPECT_THAT(depth.inputs, ElementsAre(1, 1));
  EXPECT_THAT(depth.tokens, ElementsAre(40, 40));
  EXPECT_EQ(depth.bytes, 80);
  EXPECT_EQ(depth.expected_wait, wait);
}

TEST_F(BatcherTwinsTest, NoMoreThanTheBoundJoinsARunningBatch) {
  QueueOptions options = Options();
  options.max_inputs = 2;
  const QueueId queue = AddQueue(options);
  Accept(Same("running").On(queue));
  Next();
  for (int i = 0; i < 2; ++i) Accept(Same("joined").On(queue));
  EXPECT_EQ(Enqueue(Same("refused").On(queue)).code(), absl::StatusCode::kResourceExhausted);
  Complete();
  Accept(Same("next").On(queue));
}

TEST_F(BatcherTwinsTest, ARequestMayJoinInPart) {
  Accept(NewCall("running", {40}).Saying({{1}}));
  Next();
  TestCall& call = Accept(NewCall("call", {40, 40}).Saying({{1}, {2}}));
  Complete();
  EXPECT_EQ(call.finished(), 1);
  EXPECT_EQ(batcher_.Depth(queue_).inputs[0], 1);
  EXPECT_THAT(Next(), ElementsAre("call1"));
  Complete();
  EXPECT_EQ(call.finished(), 2);
}

TEST_F(BatcherTwinsTest, WhatJoinedARunningBatchExpires) {
  TestCall& running = Accept(Same("running"));
  Next();
  TestCall& late = Accept(Same("late").DueIn(milliseconds(5)));
  TestCall& patient = Accept(Same("patient"));
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(late.aborted(), 1);
  EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded);
  Complete();
  EXPECT_EQ(late.finished(), 0);
  EXPECT_EQ(running.finished(), 1);
  EXPECT_EQ(patient.finished(), 1);
}

TEST_F(BatcherTwinsTest, WhatJoinedARunningBatchMayBeCancelled) {
  TestCall& running = Accept(Same("running"));
  Next();
  TestCall& call = Accept(NewCall("call", {40, 40, 40}).Saying({{7, 8, 9}, {1}, {7, 8, 9}}));
  TestCall& joined = Accept(Same("joined"));
  batcher_.Cancel(call.work());
  EXPECT_EQ(call.aborted(), 3);
  Complete();
  EXPECT_EQ(running.finished(), 1);
  EXPECT_EQ(joined.finished(), 1);
  EXPECT_EQ(call.finished(), 0);
}

TEST_F(BatcherTwinsTest, TheWorkOfTwinsCountsWhereTheMostUrgentStands) {
  Teach(queue_, Duration::zero(), milliseconds(1));
  Accept(Same("patient"));
  const auto refused = [&] { return !Enqueue(NewCall("call", {10}).DueIn(milliseconds(60))).ok(); };
  // A call that is due before the patient twin does not wait for it, but for the urgent one.
  TestCall& urgent = Accept(Same("urgent").DueIn(milliseconds(55)));
  EXPECT_TRUE(refused());
  Accept(Same("not so urgent").DueIn(milliseconds(400)));
  EXPECT_TRUE(refused());
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.050, 1e-6);
  batcher_.Cancel(urgent.work());
  EXPECT_FALSE(refused());
}

TEST_F(BatcherTwinsTest, ASealedBatchIsNotJoined) {
  TestCall& computed = Accept(Same("computed"));
  Next();
  Seal();
  TestCall& next = Accept(Same("next"));
  EXPECT_EQ(batcher_.Depth(queue_).inputs[0], 1);
  Complete();
  EXPECT_EQ(computed.finished(), 1);
  EXPECT_EQ(next.finished(), 0);
  EXPECT_THAT(Next(), ElementsAre("next"));
}

TEST_F(BatcherTwinsTest, TheMostUrgentTwinTakesTheOthersAlong) {
  TestCall& bulk = Accept(Same("bulk").Bulk());
  Accept(NewCall("between", {70}).DueIn(milliseconds(50)));
  TestCall& urgent = Accept(Same("urgent").DueIn(milliseconds(5)));
  EXPECT_THAT(Next(), ElementsAre("urgent"));
  Complete();
  EXPECT_EQ(bulk.finished(), 1);
  EXPECT_EQ(urgent.finished(), 1);
  EXPECT_THAT(Next(), ElementsAre("between"));
}

TEST_F(BatcherTwinsTest, AMiddleTwinMayTakeAllAlong) {
  std::vector<TestCall*> calls;
  for (const int deadline : {9, 7, 5, 6, 8}) {
    calls.push_back(&Accept(Same("twin").DueIn(milliseconds(deadline))));
  }
  EXPECT_THAT(Next(), ElementsAre("twin"));
  EXPECT_EQ(batch_.tasks[0], &calls[2]->task(0));
  ExpectEmpty(queue_);
  Complete();
  for (const TestCall* call : calls) EXPECT_EQ(call->finished(), 1);
}

TEST_F(BatcherTwinsTest, CancellingTheFirstLeavesItsTwinsToBeComputed) {
  TestCall& first = Accept(Same("first").DueIn(milliseconds(5)));
  TestCall& second = Accept(Same("second"));
  TestCall& third = Accept(Same("third"));
  batcher_.Cancel(first.work());
  EXPECT_THAT(Next(), ElementsAre("second"));
  Complete();
  EXPECT_EQ(first.aborted(), 1);
  EXPECT_EQ(first.finished(), 0);
  EXPECT_EQ(second.finished(), 1);
  EXPECT_EQ(third.finished(), 1);
}

TEST_F(BatcherTwinsTest, AnExpiredFirstLeavesItsTwinsToBeComputed) {
  TestCall& first = Accept(Same("first").DueIn(milliseconds(5)));
  TestCall& second = Accept(Same("second"));
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(first.aborted(), 1);
  EXPECT_THAT(Next(), ElementsAre("second"));
  Complete();
  EXPECT_EQ(second.finished(), 1);
}

TEST_F(BatcherTwinsTest, CancellingATwinLeavesTheOthers) {
  TestCall& first = Accept(Same("first"));
  TestCall& second = Accept(Same("second"));
  TestCall& third = Accept(Same("third"));
  batcher_.Cancel(second.work());
  EXPECT_THAT(Next(), ElementsAre("first"));
  Complete();
  EXPECT_EQ(first.finished(), 1);
  EXPECT_EQ(second.finished(), 0);
  EXPECT_EQ(third.finished(), 1);
}

TEST_F(BatcherTwinsTest, CancellingARequestThatHoldsTwinsOfItselfAnswersEachTask) {
  TestCall& other = Accept(NewCall("other", {40}).Saying({{2}}).DueIn(milliseconds(50)));
  TestCall& call = Accept(NewCall("call", {40, 40, 40, 40}).Saying({{1}, {1}, {2}, {1}}));
  batcher_.Cancel(call.work());
  EXPECT_EQ(call.aborted(), 4);
  EXPECT_THAT(Next(), ElementsAre("other"));
  Complete();
  EXPECT_EQ(other.finished(), 1);
}

TEST_F(BatcherTwinsTest, TheWorkOfTwinsIsExpectedOnce) {
  Teach(queue_, Duration::zero(), milliseconds(1));
  // 40 tokens, with a quarter more.
  Accept(Same("first"));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.050, 1e-6);
  TestCall& second = Accept(Same("second"));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.050, 1e-6);
  batcher_.Cancel(calls_[calls_.size() - 2].work());
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.050, 1e-6)
      << "the second stands for it now";
  batcher_.Cancel(second.work());
  EXPECT_EQ(batcher_.Depth(queue_).expected_wait, Duration::zero());
}

TEST_F(BatcherTwinsTest, TheWorkOfAPartlyTakenRequestIsExpectedWithoutWhatWasTaken) {
  Teach(queue_, Duration::zero(), milliseconds(1));
  Accept(NewCall("late", {40, 70}).Saying({{1}, {2}}).DueIn(milliseconds(900)));
  Accept(NewCall("urgent", {40}).Saying({{1}}).DueIn(milliseconds(500)));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.1375, 1e-6);
  EXPECT_THAT(Next(), ElementsAre("urgent"));
  clock_.Advance(milliseconds(40));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.0975, 1e-6);
}

TEST_F(BatcherTwinsTest, InputsThatDifferAreNoTwins) {
  Accept(NewCall("a", {40}).Saying({{7, 8}}));
  Accept(NewCall("b", {40}).Saying({{7, 9}}));
  Accept(NewCall("c", {10}).Saying({{7, 8, 9}}));
  EXPECT_THAT(Next(), ElementsAre("a", "b", "c"));
}

TEST_F(BatcherTwinsTest, OtherOutputsAreNoTwins) {
  OutputSpec classify;
  classify.task = TaskKind::kClassify;
  OutputSpec first_token;
  first_token.pooling = Pooling::kCls;
  OutputSpec normalized;
  normalized.normalize = true;
  OutputSpec explained;
  explained.explain = true;
  Accept(Same("plain", 20));
  Accept(Same("classify", 20).Wanting(classify));
  Accept(Same("first token", 20).Wanting(first_token));
  Accept(Same("normalized", 20).Wanting(normalized));
  Accept(Same("explained", 20).Wanting(explained));
  EXPECT_THAT(Next(), ElementsAre("plain", "classify", "first token", "normalized", "explained"));
}

TEST_F(BatcherTwinsTest, OtherModelsInputsAreNoTwins) {
  Accept(Same("one"));
  Accept(Same("two").On(AddQueue(Options())));
  EXPECT_THAT(Next(), ElementsAre("one"));
  EXPECT_THAT(Next(), ElementsAre("two"));
}

}  // namespace
}  // namespace contextpool::engine
