// What is accepted: what there is room for, and what can be done in time.
#include "engine/base/retry.h"
#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

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
  EXPECT_TRUE(batcher_.CheckRoom(queue, 4, 200).ok());
  ExpectTooLarge(batcher_.CheckRoom(queue, 5, 1), "5 inputs");
  ExpectTooLarge(batcher_.CheckRoom(queue, 1, 201), "201 bytes");
  Accept(NewCall("first", {50}).On(queue));
  EXPECT_TRUE(batcher_.CheckRoom(queue, 3, 150).ok());
  ExpectFull(batcher_.CheckRoom(queue, 4, 1), "1 of 4 inputs");
  ExpectFull(batcher_.CheckRoom(queue, 1, 151), "50 of 200 bytes");
}

TEST_F(BatcherRoomTest, AFullQueueSaysWhenItIsExpectedToBeDrained) {
  const QueueId queue = AddSmallQueue();
  Teach(queue, Duration::zero(), milliseconds(10));
  Accept(NewCall("first", {100, 100}).On(queue));
  EXPECT_NEAR(Seconds(batcher_.Depth(queue).expected_wait), 2.0, 1e-6);
  EXPECT_NEAR(Seconds(*RetryDelay(Enqueue(NewCall("refused", {1}).On(queue)))), 2.0, 1e-6);
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

// A token takes 1 ms.
class BatcherDeadlineTest : public BatcherTest {
 protected:
  BatcherDeadlineTest() {
    Teach(queue_, Duration::zero(), milliseconds(1));
    clock_.Advance(seconds(100));  // nobody remembers
  }

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
  // 70 ms and 10 ms, with a tenth more for safety: 88 ms.
  const absl::Status status = Enqueue(NewCall("late", {10}).DueIn(milliseconds(60)));
  ExpectTooLate(status, milliseconds(28));
  EXPECT_THAT(status.message(),
              HasSubstr("expected in 88 ms, after the deadline in 60 ms; try again later"));
  EXPECT_FALSE(Enqueue(NewCall("late", {10}).DueIn(milliseconds(87))).ok());
  Accept(NewCall("in time", {10}).DueIn(milliseconds(89)));
}

TEST_F(BatcherDeadlineTest, AStepThatTakesLongerThanExpectedIsExpectedToEndNow) {
  Run(milliseconds(-300));
  EXPECT_FALSE(Enqueue(NewCall("late", {10}).DueIn(milliseconds(10))).ok());
  Accept(NewCall("call", {10}).DueIn(milliseconds(12)));
}

TEST_F(BatcherDeadlineTest, ARefusedRequestLeavesNoTrace) {
  Run(milliseconds(70));
  Call& late = NewCall("late", {10}).DueIn(milliseconds(60));
  EXPECT_FALSE(Enqueue(late).ok());
  ExpectEmpty(queue_);
  EXPECT_EQ(late.answered(), 0) << "the caller of Enqueue answers";
  Accept(NewCall("other", {10}));
  EXPECT_THAT(Next(), ElementsAre("other"));
}

TEST_F(BatcherDeadlineTest, WorkThatIsDueEarlierIsWaitedFor) {
  Run(milliseconds(10));
  Accept(NewCall("ahead", {100}).DueIn(milliseconds(130)));
  // 10 + 100 + 50 ms, with a tenth more: 176 ms.
  ExpectTooLate(Enqueue(NewCall("late", {50}).DueIn(milliseconds(140))), milliseconds(36));
  Accept(NewCall("in time", {50}).DueIn(milliseconds(177)));
}

TEST_F(BatcherDeadlineTest, WorkThatIsDueLaterIsNotWaitedFor) {
  Run(milliseconds(10));
  Accept(NewCall("behind", {100}).DueIn(milliseconds(900)));
  Accept(NewCall("call", {10}).DueIn(milliseconds(23)));
}

// Accepted work is promised its time, more by a quarter for safety and by an eighth for bulk work
// that may come.
constexpr Duration Promised(int64_t tokens) {
  return std::chrono::microseconds(tokens * 1000 * 5 * 9 / 4 / 8);
}

TEST_F(BatcherDeadlineTest, AcceptedWorkIsProtectedFromMoreUrgentArrivals) {
  Accept(NewCall("accepted", {50}).DueIn(milliseconds(160)));
  // A step of both would take 100 ms, but the accepted work must begin by 160 - 70.3 ms.
  ExpectTooLate(Enqueue(NewCall("greedy", {50}).DueIn(milliseconds(140))),
                milliseconds(100) - (milliseconds(160) - Promised(50)));
  Accept(NewCall("modest", {38}).DueIn(milliseconds(140)));
  EXPECT_THAT(Next(), ElementsAre("modest", "accepted"));
}

TEST_F(BatcherDeadlineTest, AcceptedWorkIsProtectedFromManySmallArrivals) {
  Accept(NewCall("accepted", {50}).DueIn(milliseconds(200)));
  // With 35 more tokens it must begin by 200 - 119.5 ms, and a step takes 90 ms.
  int accepted = 0;
  while (Enqueue(NewCall("small", {5}).DueIn(milliseconds(190))).ok()) ++accepted;
  EXPECT_EQ(accepted, 7);
}

TEST_F(BatcherDeadlineTest, TheRunningStepCountsAgainstProtectedWork) {
  Run(milliseconds(30));
  Accept(NewCall("accepted", {50}).DueIn(milliseconds(165)));
  // 30 + 60 ms against 165 - 70.3 ms, and 30 + 70 ms.
  EXPECT_FALSE(Enqueue(NewCall("greedy", {20}).DueIn(milliseconds(150))).ok());
  Accept(NewCall("modest", {10}).DueIn(milliseconds(150)));
}

TEST_F(BatcherDeadlineTest, ProtectedWorkIsPromisedNoMoreThanAFullBatchInAdvance) {
  Accept(NewCall("accepted", {100}).DueIn(milliseconds(250)));
  Accept(NewCall("behind", std::vector<int64_t>(8, 100)).DueIn(seconds(10)));
  // 100 ms, the longest step, against 250 - 140.6 ms.
  Accept(NewCall("urgent", {40}).DueIn(milliseconds(200)));
}

TEST_F(BatcherDeadlineTest, AcceptedWorkOfAnotherModelIsProtectedToo) {
  const QueueId other = AddQueue(Options());
  Teach(other, Duration::zero(), milliseconds(1));
  Accept(NewCall("accepted", {50}).On(other).DueIn(milliseconds(100)));
  EXPECT_FALSE(Enqueue(NewCall("greedy", {40}).DueIn(milliseconds(90))).ok());
  Accept(NewCall("modest", {19}).DueIn(milliseconds(90)));
  // What was accepted meanwhile stands before it, whichever model it is of.
  ExpectTooLate(Enqueue(NewCall("one more", {19}).DueIn(milliseconds(90))),
                milliseconds(38) - (milliseconds(100) - Promised(19 + 50)));
}

TEST_F(BatcherDeadlineTest, BulkWorkIsNotProtected) {
  Accept(NewCall("bulk", {50}).Bulk().DueIn(milliseconds(60)));
  Accept(NewCall("interactive", {40}).DueIn(milliseconds(55)));
}

TEST_F(BatcherDeadlineTest, InteractiveWorkWaitsForTheBulkWorkThatEarnsCreditMeanwhile) {
  Accept(NewCall("ahead", std::vector<int64_t>(8, 100)).DueIn(milliseconds(1000)));
  Accept(NewCall("bulk", std::vector<int64_t>(8, 100)).Bulk());
  // 800 + 100 + 100 ms, with a tenth more.
  ExpectTooLate(Enqueue(NewCall("late", {100}).DueIn(milliseconds(1000))), milliseconds(100));
}

TEST_F(BatcherDeadlineTest, InteractiveWorkWaitsForNoMoreBulkWorkThanThereIs) {
  Accept(NewCall("ahead", std::vector<int64_t>(8, 100)).DueIn(milliseconds(1000)));
  Accept(NewCall("bulk", {50}).Bulk());
  // 800 + 50 + 100 ms, with a tenth more.
  ExpectTooLate(Enqueue(NewCall("late", {100}).DueIn(milliseconds(1000))), milliseconds(45));
}

TEST_F(BatcherDeadlineTest, BulkWorkWaitsForAllInteractiveWork) {
  Accept(NewCall("interactive", {100}));
  // 100 + 50 ms, with a tenth more.
  ExpectTooLate(Enqueue(NewCall("late", {50}).Bulk().DueIn(milliseconds(100))), milliseconds(65));
  Accept(NewCall("in time", {50}).Bulk().DueIn(milliseconds(166)));
}

TEST_F(BatcherDeadlineTest, BulkWorkGetsTheTimeThatInteractiveWorkLeaves) {
  // A tenth of each second goes to interactive work, with a tenth more 0.11. Bulk gets the rest:
  // 100 + 90 / 0.89 + 10 ms, with a tenth more.
  Accept(NewCall("interactive", {100}));
  Accept(NewCall("ahead", {90}).Bulk().DueIn(milliseconds(210)));
  ExpectTooLate(Enqueue(NewCall("late", {10}).Bulk().DueIn(milliseconds(215))),
                std::chrono::microseconds(17236));
}

TEST_F(BatcherDeadlineTest, BulkWorkGetsItsShareHoweverMuchInteractiveWorkComes) {
  // More work than there is time: 1000 + 90 * 9 + 10 ms, with a tenth more.
  Accept(NewCall("interactive", std::vector<int64_t>(10, 100)));
  Accept(NewCall("ahead", {90}).Bulk().DueIn(milliseconds(1200)));
  ExpectTooLate(Enqueue(NewCall("late", {10}).Bulk().DueIn(milliseconds(1900))), milliseconds(102));
}

}  // namespace
}  // namespace contextpool::engine
