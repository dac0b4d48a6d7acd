// Inputs that are the same are computed once.
#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::milliseconds;
using ::testing::ElementsAre;

class BatcherTwinsTest : public BatcherTest {
 protected:
  // One input that all of these share.
  Call& Same(const std::string& name, int64_t cost = 40) {
    return NewCall(name, {cost}).Saying({{7, 8, 9}});
  }
};

TEST_F(BatcherTwinsTest, TheSameInputOfTwoCallersIsComputedOnce) {
  Call& first = Accept(Same("first"));
  Call& second = Accept(Same("second"));
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
  Call& call = Accept(NewCall("call", {40, 40, 40}).Saying({{1}, {2}, {1}}));
  EXPECT_THAT(Next(), ElementsAre("call0", "call1"));
  Complete();
  EXPECT_EQ(call.finished(), 3);
}

TEST_F(BatcherTwinsTest, AnInputThatIsBeingComputedIsJoined) {
  Accept(Same("running"));
  Next();
  clock_.Advance(milliseconds(3));
  Call& joined = Accept(Same("joined"));
  ExpectEmpty(queue_);
  EXPECT_EQ(joined.task(0).taken, clock_.Now());
  Complete();
  EXPECT_EQ(joined.finished(), 1);
}

TEST_F(BatcherTwinsTest, ARequestMayJoinInPart) {
  Accept(NewCall("running", {40}).Saying({{1}}));
  Next();
  Call& call = Accept(NewCall("call", {40, 40}).Saying({{1}, {2}}));
  EXPECT_EQ(batcher_.Depth(queue_).inputs[0], 1);
  Complete();
  EXPECT_EQ(call.finished(), 1);
  EXPECT_THAT(Next(), ElementsAre("call1"));
  Complete();
  EXPECT_EQ(call.finished(), 2);
}

TEST_F(BatcherTwinsTest, WhatJoinedARunningBatchIsNotTakenOutAgain) {
  Accept(Same("running"));
  Next();
  Call& joined = Accept(Same("joined").DueIn(milliseconds(5)));
  batcher_.Cancel(joined.work());
  Accept(NewCall("late", {10}).DueIn(milliseconds(9)));
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(joined.aborted(), 0);
  Complete();
  EXPECT_EQ(joined.finished(), 1);
}

TEST_F(BatcherTwinsTest, ASealedBatchIsNotJoined) {
  Call& computed = Accept(Same("computed"));
  Next();
  Seal();
  Call& next = Accept(Same("next"));
  EXPECT_EQ(batcher_.Depth(queue_).inputs[0], 1);
  Complete();
  EXPECT_EQ(computed.finished(), 1);
  EXPECT_EQ(next.finished(), 0);
  EXPECT_THAT(Next(), ElementsAre("next"));
}

TEST_F(BatcherTwinsTest, TheMostUrgentTwinTakesTheOthersAlong) {
  Call& bulk = Accept(Same("bulk").Bulk());
  Accept(NewCall("between", {70}).DueIn(milliseconds(50)));
  Call& urgent = Accept(Same("urgent").DueIn(milliseconds(5)));
  EXPECT_THAT(Next(), ElementsAre("urgent"));
  Complete();
  EXPECT_EQ(bulk.finished(), 1);
  EXPECT_EQ(urgent.finished(), 1);
  EXPECT_THAT(Next(), ElementsAre("between"));
}

TEST_F(BatcherTwinsTest, AMiddleTwinMayTakeAllAlong) {
  std::vector<Call*> calls;
  for (const int deadline : {9, 7, 5, 6, 8}) {
    calls.push_back(&Accept(Same("twin").DueIn(milliseconds(deadline))));
  }
  EXPECT_THAT(Next(), ElementsAre("twin"));
  EXPECT_EQ(batch_.tasks[0], &calls[2]->task(0));
  ExpectEmpty(queue_);
  Complete();
  for (const Call* call : calls) EXPECT_EQ(call->finished(), 1);
}

TEST_F(BatcherTwinsTest, CancellingTheFirstLeavesItsTwinsToBeComputed) {
  Call& first = Accept(Same("first").DueIn(milliseconds(5)));
  Call& second = Accept(Same("second"));
  Call& third = Accept(Same("third"));
  batcher_.Cancel(first.work());
  EXPECT_THAT(Next(), ElementsAre("second"));
  Complete();
  EXPECT_EQ(first.aborted(), 1);
  EXPECT_EQ(first.finished(), 0);
  EXPECT_EQ(second.finished(), 1);
  EXPECT_EQ(third.finished(), 1);
}

TEST_F(BatcherTwinsTest, AnExpiredFirstLeavesItsTwinsToBeComputed) {
  Call& first = Accept(Same("first").DueIn(milliseconds(5)));
  Call& second = Accept(Same("second"));
  EXPECT_TRUE(batcher_.ExpireNext());
  EXPECT_EQ(first.aborted(), 1);
  EXPECT_THAT(Next(), ElementsAre("second"));
  Complete();
  EXPECT_EQ(second.finished(), 1);
}

TEST_F(BatcherTwinsTest, CancellingATwinLeavesTheOthers) {
  Call& first = Accept(Same("first"));
  Call& second = Accept(Same("second"));
  Call& third = Accept(Same("third"));
  batcher_.Cancel(second.work());
  EXPECT_THAT(Next(), ElementsAre("first"));
  Complete();
  EXPECT_EQ(first.finished(), 1);
  EXPECT_EQ(second.finished(), 0);
  EXPECT_EQ(third.finished(), 1);
}

TEST_F(BatcherTwinsTest, CancellingARequestThatHoldsTwinsOfItselfAnswersEachTask) {
  Call& other = Accept(NewCall("other", {40}).Saying({{2}}).DueIn(milliseconds(50)));
  Call& call = Accept(NewCall("call", {40, 40, 40, 40}).Saying({{1}, {1}, {2}, {1}}));
  batcher_.Cancel(call.work());
  EXPECT_EQ(call.aborted(), 4);
  EXPECT_THAT(Next(), ElementsAre("other"));
  Complete();
  EXPECT_EQ(other.finished(), 1);
}

TEST_F(BatcherTwinsTest, TheWorkOfTwinsIsExpectedOnce) {
  Teach(queue_, Duration::zero(), milliseconds(1));
  Accept(Same("first"));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.040, 1e-6);
  Call& second = Accept(Same("second"));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.040, 1e-6);
  batcher_.Cancel(calls_[calls_.size() - 2].work());
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.040, 1e-6)
      << "the second stands for it now";
  batcher_.Cancel(second.work());
  EXPECT_EQ(batcher_.Depth(queue_).expected_wait, Duration::zero());
}

TEST_F(BatcherTwinsTest, TheWorkOfAPartlyTakenRequestIsExpectedWithoutWhatWasTaken) {
  Teach(queue_, Duration::zero(), milliseconds(1));
  Accept(NewCall("late", {40, 70}).Saying({{1}, {2}}).DueIn(milliseconds(900)));
  Accept(NewCall("urgent", {40}).Saying({{1}}).DueIn(milliseconds(500)));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.110, 1e-6);
  EXPECT_THAT(Next(), ElementsAre("urgent"));
  clock_.Advance(milliseconds(40));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 0.070, 1e-6);
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
