// What is accepted: what there is room for, and what can be done in time.
#include "engine/base/retry.h"
#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::microseconds;
using ::std::chrono::milliseconds;
using ::std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void ExpectFull(const absl::Status& status, const std::string& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr(message));
  EXPECT_TRUE(RetryDelay(status).has_value());
  EXPECT_FALSE(IsTooLate(status));
}

void ExpectTooLarge(const absl::Status& status, const std::string& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr(message));
  EXPECT_FALSE(RetryDelay(status).has_value());
}

void ExpectTooLate(const absl::Status& status, Duration retry) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_TRUE(IsTooLate(status));
  ASSERT_TRUE(RetryDelay(status).has_value());
  EXPECT_NEAR(Seconds(*RetryDelay(status)), Seconds(retry), 2e-6);
}

class BatcherRoomTest : public BatcherTest {
 protected:
  BatcherRoomTest() : BatcherTest({.max_tokens = 500, .max_inputs = 10, .max_bytes = 500}) {}

  static QueueOptions Bounded(const QueueBounds& bounds) {
    QueueOptions options = Options();
    static_cast<QueueBounds&>(options) = bounds;
    return options;
  }
  QueueId AddSmallQueue() {
    return AddQueue(Bounded({.max_tokens = 200, .max_inputs = 4, .max_bytes = 200}));
  }
};

TEST_F(BatcherRoomTest, AFullQueueRefusesTheWholeRequest) {
  const QueueId queue = AddSmallQueue();
  Accept(NewCall("first", {90, 60}).On(queue));
  ExpectFull(Enqueue(NewCall("call", {30, 30}).On(queue)),
             "the model's queue is full: 150 of 200 tokens");
  EXPECT_EQ(batcher_.Depth(queue).inputs[0], 2);
  EXPECT_EQ(batcher_.Depth(queue).tokens[0], 150);
  EXPECT_EQ(batcher_.Depth(queue).bytes, 150);
}

TEST_F(BatcherRoomTest, AQueueMayBeFilledToItsBound) {
  const QueueId queue = AddSmallQueue();
  Accept(NewCall("first", {100, 50}).On(queue));
  Accept(NewCall("second", {25, 25}).On(queue));
  ExpectFull(Enqueue(NewCall("third", {1}).On(queue)), "4 of 4 inputs");
}

TEST_F(BatcherRoomTest, BytesAreBoundedToo) {
  const QueueId queue = AddQueue(Bounded({.max_tokens = 1000, .max_inputs = 10, .max_bytes = 99}));
  Accept(NewCall("first", {50}).On(queue));
  ExpectFull(Enqueue(NewCall("second", {50}).On(queue)), "50 of 99 bytes");
}

TEST_F(BatcherRoomTest, RoomThatIsFreedIsGivenOutAgain) {
  const QueueId queue = AddSmallQueue();
  Accept(NewCall("first", {100, 100}).On(queue));
  EXPECT_FALSE(Enqueue(NewCall("refused", {100}).On(queue)).ok());
  Next();
  Accept(NewCall("accepted", {100}).On(queue));
}

TEST_F(BatcherRoomTest, ARequestLargerThanTheWholeQueueIsRefusedForGood) {
  const QueueId queue = AddSmallQueue();
  ExpectTooLarge(Enqueue(NewCall("inputs", {1, 1, 1, 1, 1}).On(queue)),
                 "5 inputs, more than the model's queue (4); split it");
  ExpectTooLarge(Enqueue(NewCall("tokens", {100, 100, 1}).On(queue)),
                 "201 tokens, more than the model's queue (200)");
  ExpectEmpty(queue);
}

TEST_F(BatcherRoomTest, NobodyIsToldToRetryWhatWillNeverFit) {
  const QueueId queue = AddSmallQueue();
  Accept(NewCall("full", {1, 1, 1, 1}).On(queue));
  ExpectTooLarge(Enqueue(NewCall("tokens", {100, 100, 1}).On(queue)), "201 tokens");
  const QueueId large = AddQueue(Options());
  Accept(NewCall("fill", std::vector<int64_t>(6, 1)).On(large));
  ExpectTooLarge(Enqueue(NewCall("tokens", std::vector<int64_t>(6, 100)).On(large)),
                 "600 tokens, more than the server's queue (500)");
}

TEST_F(BatcherRoomTest, AllModelsTogetherAreBounded) {
  const QueueId small = AddSmallQueue();
  Accept(NewCall("first", {100, 100, 100, 100}));
  Accept(NewCall("second", {50}).On(small));
  ExpectFull(Enqueue(NewCall("tokens", {60}).On(small)),
             "the server's queue is full: 450 of 500 tokens");
  Accept(NewCall("third", {1, 1, 1}).On(small));
  ExpectFull(Enqueue(NewCall("inputs", {1, 1, 1})), "8 of 10 inputs");
  Next();
  Accept(NewCall("fourth", {60}));
}

TEST_F(BatcherRoomTest, ARequestLargerThanTheServersQueueIsRefusedForGood) {
  ExpectTooLarge(Enqueue(NewCall("call", std::vector<int64_t>(11, 1))),
                 "11 inputs, more than the server's queue (10)");
}

TEST_F(BatcherRoomTest, RoomCanBeAskedForBeforeTokensAreKnown) {
  const QueueId queue = AddSmallQueue();
  EXPECT_TRUE(batcher_.CheckRoom(queue, 4, 0, 200).ok());
  ExpectTooLarge(batcher_.CheckRoom(queue, 5, 0, 1), "5 inputs");
  ExpectTooLarge(batcher_.CheckRoom(queue, 1, 0, 201), "201 bytes");
  Accept(NewCall("first", {50}).On(queue));
  EXPECT_TRUE(batcher_.CheckRoom(queue, 3, 0, 150).ok());
  ExpectFull(batcher_.CheckRoom(queue, 4, 0, 1), "1 of 4 inputs");
  ExpectFull(batcher_.CheckRoom(queue, 1, 0, 151), "50 of 200 bytes");
}

TEST_F(BatcherRoomTest, TokensThatAreKnownAreAskedForToo) {
  const QueueId queue = AddSmallQueue();
  ExpectTooLarge(batcher_.CheckRoom(queue, 1, 201, 1), "201 tokens");
  Accept(NewCall("first", {50}).On(queue));
  EXPECT_TRUE(batcher_.CheckRoom(queue, 1, 150, 1).ok());
  ExpectFull(batcher_.CheckRoom(queue, 1, 151, 1), "50 of 200 tokens");
}

TEST_F(BatcherRoomTest, AFullQueueSaysWhenItIsExpectedToBeDrained) {
  const QueueId queue = AddSmallQueue();
  Teach(queue, Duration::zero(), milliseconds(10));
  Accept(NewCall("first", {100, 100}).On(queue));
  // 200 tokens, with a quarter more for safety.
  EXPECT_NEAR(Seconds(batcher_.Depth(queue).expected_wait), 2.5, 1e-6);
  EXPECT_NEAR(Seconds(*RetryDelay(Enqueue(NewCall("refused", {1}).On(queue)))), 2.5, 1e-6);
}

TEST_F(BatcherRoomTest, RetryDelaysAreNeitherPointlesslyShortNorEndless) {
  const QueueId queue = AddSmallQueue();
  Accept(NewCall("first", {100, 100}).On(queue));
  EXPECT_EQ(RetryDelay(Enqueue(NewCall("refused", {1}).On(queue))), milliseconds(10))
      << "nothing is known yet";
  Next();
  Next();
  Teach(queue, Duration::zero(), seconds(1));
  Accept(NewCall("second", {100, 100}).On(queue));
  EXPECT_EQ(RetryDelay(Enqueue(NewCall("refused", {1}).On(queue))), seconds(30));
}

// A token takes 1 ms. What is expected to take a time is given a quarter more.
class BatcherDeadlineTest : public BatcherTest {
 protected:
  BatcherDeadlineTest() { Teach(queue_, Duration::zero(), milliseconds(1)); }

  // A step that has so much time left.
  void Run(Duration left) {
    Accept(NewCall("running", {100}));
    Next();
    clock_.Advance(milliseconds(100) - left);
  }
};

TEST_F(BatcherDeadlineTest, AnIdleDeviceAlwaysTries) {
  Accept(NewCall("hopeless", {100}).DueIn(milliseconds(1)));
  EXPECT_THAT(Next(), ElementsAre("hopeless"));
}

TEST_F(BatcherDeadlineTest, NothingIsHopelessWhileStepTimesAreUnknown) {
  const QueueId fresh = AddQueue(Options());
  Accept(NewCall("running", {100}).On(fresh));
  Next();
  Accept(NewCall("waiting", {100}).On(fresh));
  Accept(NewCall("call", {100}).On(fresh).DueIn(milliseconds(1)));
}

TEST_F(BatcherDeadlineTest, TheRunningStepAndTheOwnOneMustEndInTime) {
  Run(milliseconds(70));
  // 1.25 * 100 - 30 ms and 1.25 * 10 ms.
  const absl::Status status = Enqueue(NewCall("late", {10}).DueIn(milliseconds(60)));
  ExpectTooLate(status, microseconds(47500));
  EXPECT_THAT(status.message(),
              HasSubstr("expected in 107 ms, after the deadline in 60 ms; try again later"));
  EXPECT_FALSE(Enqueue(NewCall("late", {10}).DueIn(milliseconds(107))).ok());
  Accept(NewCall("in time", {10}).DueIn(milliseconds(108)));
}

TEST_F(BatcherDeadlineTest, AStepThatTakesLongerThanExpectedIsExpectedToEndNow) {
  Run(milliseconds(-300));
  EXPECT_FALSE(Enqueue(NewCall("late", {10}).DueIn(milliseconds(12))).ok());
  Accept(NewCall("call", {10}).DueIn(milliseconds(13)));
}

TEST_F(BatcherDeadlineTest, ARefusedRequestLeavesNoTrace) {
  Run(milliseconds(70));
  TestCall& late = NewCall("late", {10}).DueIn(milliseconds(60));
  EXPECT_FALSE(Enqueue(late).ok());
  ExpectEmpty(queue_);
  EXPECT_EQ(late.answered(), 0) << "the caller of Enqueue answers";
  Accept(NewCall("other", {10}));
  EXPECT_THAT(Next(), ElementsAre("other"));
}

TEST_F(BatcherDeadlineTest, WorkThatIsDueEarlierIsWaitedFor) {
  Run(milliseconds(10));
  Accept(NewCall("ahead", {100}).DueIn(milliseconds(170)));
  // 1.25 * (100 + 100 + 50) - 90 ms.
  ExpectTooLate(Enqueue(NewCall("late", {50}).DueIn(milliseconds(180))), microseconds(42500));
  Accept(NewCall("in time", {50}).DueIn(milliseconds(223)));
}

TEST_F(BatcherDeadlineTest, WorkThatIsDueLaterIsNotWaitedFor) {
  Run(milliseconds(10));
  Accept(NewCall("behind", {100}).DueIn(milliseconds(900)));
  Accept(NewCall("call", {10}).DueIn(milliseconds(48)));
}

TEST_F(BatcherDeadlineTest, BulkWorkIsNotProtected) {
  Accept(NewCall("bulk", {50}).Bulk().DueIn(milliseconds(60)));
  Accept(NewCall("interactive", {40}).DueIn(milliseconds(55)));
}

TEST_F(BatcherDeadlineTest, ARequestLargerThanABatchTakesTheFixedPartOncePerStep) {
  const QueueId queue = AddQueue(Options());
  Teach(queue, milliseconds(20), microseconds(100));
  Accept(NewCall("running", {100}));
  Next();
  clock_.Advance(milliseconds(100));
  // 25 ms of the running step are left. 43 batches take 1.25 * (43 * 20 + 430) ms.
  const std::vector<int64_t> costs(43, 100);
  ExpectTooLate(Enqueue(NewCall("large", costs).On(queue).DueIn(milliseconds(500))),
                microseconds(1137500));
  Accept(NewCall("large", costs).On(queue).DueIn(milliseconds(1638)));
}

TEST_F(BatcherDeadlineTest, AModelThatLearnedNothingForASecondMayTry) {
  const QueueId stale = AddQueue(Options());
  Teach(stale, Duration::zero(), seconds(1));
  const auto call = [&]() -> TestCall& {
    return NewCall("call", {10}).On(stale).DueIn(milliseconds(200));
  };
  Accept(NewCall("other", {10}));
  EXPECT_FALSE(Enqueue(call()).ok());
  clock_.Advance(seconds(1));
  EXPECT_FALSE(Enqueue(call()).ok());
  clock_.Advance(Duration(1));
  Accept(call());
  EXPECT_FALSE(Enqueue(call()).ok()) << "one is enough";
}

TEST_F(BatcherDeadlineTest, AModelThatLearnedNothingForASecondBreaksNoPromises) {
  const QueueId stale = AddQueue(Options());
  Teach(stale, Duration::zero(), milliseconds(1));
  clock_.Advance(seconds(2));
  Accept(NewCall("accepted", {50}).DueIn(milliseconds(100)));
  EXPECT_FALSE(Enqueue(NewCall("greedy", {60}).On(stale).DueIn(milliseconds(90))).ok());
}

TEST_F(BatcherDeadlineTest, WhatIsTaughtIsKnownBeforeTheFirstStep) {
  const QueueId fresh = AddQueue(Options());
  Accept(NewCall("ahead", {10}));
  batcher_.Teach(fresh, 100, milliseconds(300));
  EXPECT_FALSE(Enqueue(NewCall("late", {50}).On(fresh).DueIn(milliseconds(100))).ok());
  Accept(NewCall("call", {50}).On(fresh).DueIn(milliseconds(900)));
  EXPECT_THAT(Next(), ElementsAre("call"));
  EXPECT_EQ(batch_.predicted, milliseconds(150));
}

TEST_F(BatcherDeadlineTest, InteractiveWorkThatComesBesideBulkIsGivenTimeForItsShare) {
  Accept(NewCall("ahead", std::vector<int64_t>(8, 100)));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 1, 1e-6);
  Accept(NewCall("bulk", {100}).Bulk());
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 1, 1e-6) << "fixed on arrival";
  Accept(NewCall("beside", std::vector<int64_t>(8, 100)));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 1 + 1.125, 1e-6);
}

TEST_F(BatcherDeadlineTest, BulkWorkOfAnotherModelTakesItsShareToo) {
  Accept(NewCall("bulk", {100}).On(AddQueue(Options())).Bulk());
  Accept(NewCall("beside", std::vector<int64_t>(8, 100)));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue_).expected_wait), 1.125, 1e-6);
}

TEST_F(BatcherDeadlineTest, BulkWorkWaitsForAllInteractiveWork) {
  Accept(NewCall("interactive", {100}));
  // 1.25 * (100 + 50) ms.
  ExpectTooLate(Enqueue(NewCall("late", {50}).Bulk().DueIn(milliseconds(100))),
                microseconds(87500));
  Accept(NewCall("in time", {50}).Bulk().DueIn(milliseconds(188)));
}

TEST_F(BatcherDeadlineTest, BulkWorkGetsTheTimeThatInteractiveWorkLeaves) {
  // An eighth of this second goes to interactive work. Bulk gets the rest:
  // 1.25 * (100 + 90 / 0.875 + 10) ms.
  Accept(NewCall("interactive", {100}));
  Accept(NewCall("ahead", {90}).Bulk().DueIn(milliseconds(240)));
  ExpectTooLate(Enqueue(NewCall("late", {10}).Bulk().DueIn(milliseconds(250))),
                microseconds(16071));
}

TEST_F(BatcherDeadlineTest, BulkWorkGetsItsShareHoweverMuchInteractiveWorkComes) {
  // More work than there is time: 1.25 * (1000 + 90 * 9 + 10) ms.
  Accept(NewCall("interactive", std::vector<int64_t>(10, 100)));
  Accept(NewCall("ahead", {90}).Bulk().DueIn(milliseconds(1400)));
  ExpectTooLate(Enqueue(NewCall("late", {10}).Bulk().DueIn(milliseconds(2000))), milliseconds(275));
}

}  // namespace
}  // namespace contextpool::engine
