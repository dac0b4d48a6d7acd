// What a batch holds, and in which order.
#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using BatcherOrderTest = BatcherTest;

TEST_F(BatcherOrderTest, MergesRequestsOfDifferentCallersUpToTheBudget) {
  for (const char* name : {"a", "b"}) Accept(NewCall(name, {40}));
  Accept(NewCall("c", {20}));
  Accept(NewCall("d", {1}));
  EXPECT_THAT(Next(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(batch_.queue, queue_);
  EXPECT_EQ(batch_.cost, 100);
  EXPECT_THAT(Next(), ElementsAre("d"));
}

TEST_F(BatcherOrderTest, ABatchHoldsNoMoreThanItsLargestNumberOfInputs) {
  QueueOptions options = Options();
  options.batch_max_inputs = 2;
  Accept(NewCall("a", {1, 1, 1}).On(AddQueue(options)));
  EXPECT_THAT(Next(), ElementsAre("a0", "a1"));
  EXPECT_THAT(Next(), ElementsAre("a2"));
}

TEST_F(BatcherOrderTest, TheEarliestDeadlineGoesFirst) {
  Accept(NewCall("none", {10}));
  Accept(NewCall("late", {10}).DueIn(milliseconds(90)));
  Accept(NewCall("urgent", {10}).DueIn(milliseconds(10)));
  Accept(NewCall("soon", {10}).DueIn(milliseconds(50)));
  EXPECT_THAT(Next(), ElementsAre("urgent", "soon", "late", "none"));
}

TEST_F(BatcherOrderTest, TheEarliestDeadlineGoesFirstAmongBulkWorkToo) {
  Accept(NewCall("late", {10}).Bulk().DueIn(milliseconds(90)));
  Accept(NewCall("urgent", {10}).Bulk().DueIn(milliseconds(10)));
  EXPECT_THAT(Next(), ElementsAre("urgent", "late"));
}

TEST_F(BatcherOrderTest, EqualDeadlinesAreServedInTheOrderOfArrival) {
  std::vector<std::string> names;
  for (int i = 0; i < 20; ++i) {
    names.push_back("call" + std::to_string(i));
    Accept(NewCall(names.back(), {1}).DueIn(milliseconds(10)));
  }
  EXPECT_THAT(Next(), ::testing::ElementsAreArray(names));
}

TEST_F(BatcherOrderTest, ATaskThatDoesNotFitEndsTheBatchRatherThanBeOvertaken) {
  Accept(NewCall("a", {60}));
  Accept(NewCall("b", {60}));
  Accept(NewCall("c", {10}));
  EXPECT_THAT(Next(), ElementsAre("a"));
  EXPECT_THAT(Next(), ElementsAre("b", "c"));
}

TEST_F(BatcherOrderTest, ALargeRequestIsComputedInOrderOverSeveralBatches) {
  TestCall& large = Accept(NewCall("large", {60, 60, 30, 60}));
  EXPECT_THAT(Next(), ElementsAre("large0"));
  EXPECT_THAT(Next(), ElementsAre("large1", "large2"));
  EXPECT_THAT(Next(), ElementsAre("large3"));
  EXPECT_EQ(large.finished(), 3);
  Complete();
  EXPECT_EQ(large.finished(), 4);
}

TEST_F(BatcherOrderTest, AMoreUrgentCallPassesALargeRequestBetweenItsBatches) {
  Accept(NewCall("large", {100, 100}).DueIn(milliseconds(90)));
  EXPECT_THAT(Next(), ElementsAre("large0"));
  Accept(NewCall("urgent", {100}).DueIn(milliseconds(10)));
  EXPECT_THAT(Next(), ElementsAre("urgent"));
  EXPECT_THAT(Next(), ElementsAre("large1"));
}

TEST_F(BatcherOrderTest, AnInputLargerThanABatchIsRefusedOnEntry) {
  TestCall& call = NewCall("call", {1, 101});
  const absl::Status status = Enqueue(call);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("101 tokens, more than a batch holds (100)"));
  ExpectEmpty(queue_);
  Accept(NewCall("fits", {100}));
  EXPECT_THAT(Next(), ElementsAre("fits"));
}

TEST_F(BatcherOrderTest, ABatchIsNoLongerThanItsMostUrgentTaskHasTimeFor) {
  Teach(queue_, milliseconds(10), milliseconds(1));
  Accept(NewCall("urgent", {20}).DueIn(milliseconds(80)));
  for (const char* name : {"a", "b", "c"}) Accept(NewCall(name, {15}));
  Accept(NewCall("bulk", {1}).Bulk());
  // 10 + 51 ms with a quarter more, and 10 + 66 ms.
  EXPECT_THAT(Next(), ElementsAre("urgent", "bulk", "a", "b"));
  EXPECT_THAT(Next(), ElementsAre("c"));
}

TEST_F(BatcherOrderTest, ATaskInTheMiddleMayLimitABatchToo) {
  Teach(queue_, milliseconds(10), milliseconds(1));
  Accept(NewCall("call", {20}));
  Accept(NewCall("urgent bulk", {20}).Bulk().DueIn(milliseconds(65)));
  Accept(NewCall("bulk", {20}).Bulk());
  EXPECT_THAT(Next(), ElementsAre("call", "urgent bulk"));
}

TEST_F(BatcherOrderTest, ATaskThatCannotBeDoneInTimeDoesNotMakeABatchSmall) {
  Teach(queue_, milliseconds(10), milliseconds(1));
  Accept(NewCall("hopeless", {20}).DueIn(milliseconds(29)));
  for (const char* name : {"a", "b"}) Accept(NewCall(name, {40}));
  EXPECT_THAT(Next(), ElementsAre("hopeless", "a", "b"));
}

TEST_F(BatcherOrderTest, TheModelWithTheMostUrgentWorkIsServedFirst) {
  const QueueId other = AddQueue(Options());
  Accept(NewCall("late", {10}).DueIn(milliseconds(90)));
  Accept(NewCall("urgent", {10}).On(other).DueIn(milliseconds(10)));
  Accept(NewCall("soon", {10}).DueIn(milliseconds(50)));
  EXPECT_THAT(Next(), ElementsAre("urgent"));
  EXPECT_EQ(batch_.queue, other);
  EXPECT_THAT(Next(), ElementsAre("soon", "late"));
  EXPECT_EQ(batch_.queue, queue_);
}

TEST_F(BatcherOrderTest, ModelsOfEqualUrgencyAreServedInTheOrderOfArrival) {
  const QueueId other = AddQueue(Options());
  Accept(NewCall("first", {10}).On(other));
  Accept(NewCall("second", {10}));
  EXPECT_THAT(Next(), ElementsAre("first"));
  EXPECT_THAT(Next(), ElementsAre("second"));
}

TEST_F(BatcherOrderTest, OneModelsInteractiveWorkPassesAnotherModelsUrgentBulkWork) {
  const QueueId other = AddQueue(Options());
  Accept(NewCall("bulk", {10}).Bulk().DueIn(milliseconds(1)));
  Accept(NewCall("interactive", {10}).On(other));
  EXPECT_THAT(Next(), ElementsAre("interactive"));
  EXPECT_THAT(Next(), ElementsAre("bulk"));
}

TEST_F(BatcherOrderTest, TheMostUrgentBulkWorkOfAllModelsGoesFirst) {
  const QueueId other = AddQueue(Options());
  Accept(NewCall("late", {10}).Bulk().DueIn(milliseconds(90)));
  Accept(NewCall("urgent", {10}).Bulk().On(other).DueIn(milliseconds(10)));
  EXPECT_THAT(Next(), ElementsAre("urgent"));
  EXPECT_THAT(Next(), ElementsAre("late"));
}

TEST_F(BatcherOrderTest, WorkThatExpiredDoesNotChooseTheModelToBeServed) {
  const QueueId other = AddQueue(Options());
  TestCall& expired = Accept(NewCall("expired", {10}).DueIn(milliseconds(1)));
  Accept(NewCall("relaxed", {10}).DueIn(milliseconds(90)));
  Accept(NewCall("urgent", {10}).On(other).DueIn(milliseconds(10)));
  clock_.Advance(milliseconds(1));
  EXPECT_THAT(Next(), ElementsAre("urgent"));
  EXPECT_EQ(expired.aborted(), 1);
  EXPECT_THAT(Next(), ElementsAre("relaxed"));
}

TEST_F(BatcherOrderTest, TasksOfABatchCarryWhenTheyCameAndWhenTheyWereTaken) {
  const TimePoint came = clock_.Now();
  TestCall& call = Accept(NewCall("call", {10, 10}));
  clock_.Advance(milliseconds(7));
  Next();
  for (const int i : {0, 1}) {
    EXPECT_EQ(call.task(i).enqueued, came);
    EXPECT_EQ(call.task(i).taken, came + milliseconds(7));
  }
}

TEST_F(BatcherOrderTest, AStepThatFailedTeachesNothing) {
  Accept(NewCall("fails", {10}));
  Next();
  clock_.Advance(milliseconds(20));
  SealFailed();
  Accept(NewCall("next", {30}));
  Next();
  EXPECT_EQ(batch_.predicted, Duration::zero());
}

TEST_F(BatcherOrderTest, WhatComesAfterAStepIsNotPartOfIt) {
  Accept(NewCall("first", {10}));
  Next();
  clock_.Advance(milliseconds(20));
  Seal();
  clock_.Advance(milliseconds(500));
  Accept(NewCall("second", {10}));
  Next();
  EXPECT_EQ(batch_.predicted, milliseconds(20));
}

TEST_F(BatcherOrderTest, ABatchSaysHowLongItShouldTake) {
  Accept(NewCall("first", {10}));
  Next();
  EXPECT_EQ(batch_.predicted, Duration::zero()) << "nothing is known yet";
  clock_.Advance(milliseconds(20));
  Accept(NewCall("second", {30}));
  Next();
  EXPECT_EQ(batch_.predicted, milliseconds(60));
}

}  // namespace
}  // namespace contextpool::engine
