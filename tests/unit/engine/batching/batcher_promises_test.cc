// What was accepted with a deadline of its own is protected from what comes later.
#include "engine/base/retry.h"
#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::microseconds;
using ::std::chrono::milliseconds;
using ::std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void ExpectBreaksAPromise(const absl::Status& status, Duration by) {
  EXPECT_TRUE(IsTooLate(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("would make accepted work miss its deadline"));
  ASSERT_TRUE(RetryDelay(status).has_value());
  EXPECT_NEAR(Seconds(*RetryDelay(status)), Seconds(by), 2e-6);
}

// A token takes 1 ms, of either model. What is promised is given a quarter more.
class BatcherPromisesTest : public BatcherTest {
 protected:
  BatcherPromisesTest() {
    for (const QueueId queue : {queue_, other_}) {
      Teach(queue, Duration::zero(), milliseconds(1));
    }
  }

  // A step that has so much time left.
  void Run(Duration left) {
    Accept(NewCall("running", {100}));
    Next();
    clock_.Advance(milliseconds(100) - left);
  }

  const QueueId other_ = AddQueue(Options());
};

TEST_F(BatcherPromisesTest, AcceptedWorkIsProtectedFromMoreUrgentArrivals) {
  Accept(NewCall("accepted", {50}).DueIn(milliseconds(150)));
  // A step of both would take 100 ms, but the accepted work must begin by 150 - 62.5 ms.
  ExpectBreaksAPromise(Enqueue(NewCall("greedy", {50}).DueIn(milliseconds(140))),
                       microseconds(12500));
  Accept(NewCall("modest", {37}).DueIn(milliseconds(140)));
  EXPECT_THAT(Next(), ElementsAre("modest", "accepted"));
}

TEST_F(BatcherPromisesTest, AcceptedWorkIsProtectedFromManySmallArrivals) {
  Accept(NewCall("accepted", {50}).DueIn(milliseconds(200)));
  // With 35 more tokens it must begin by 200 - 106.25 ms, and a step takes 90 ms.
  int accepted = 0;
  while (Enqueue(NewCall("small", {5}).DueIn(milliseconds(190))).ok()) ++accepted;
  EXPECT_EQ(accepted, 8);
}

TEST_F(BatcherPromisesTest, TheRunningStepCountsAgainstAcceptedWork) {
  Run(milliseconds(30));
  Accept(NewCall("accepted", {50}).DueIn(milliseconds(180)));
  // 55 + 70 ms against 180 - 62.5 ms, and 55 + 60 ms.
  EXPECT_FALSE(Enqueue(NewCall("greedy", {20}).DueIn(milliseconds(150))).ok());
  Accept(NewCall("modest", {10}).DueIn(milliseconds(150)));
}

TEST_F(BatcherPromisesTest, AnArrivalTakesNoMoreThanABatchOfWhatWaitsAlong) {
  Accept(NewCall("accepted", {100}).DueIn(milliseconds(250)));
  Accept(NewCall("behind", std::vector<int64_t>(8, 100)).DueIn(seconds(10)));
  // 100 ms, the longest step, against 250 - 125 ms.
  Accept(NewCall("urgent", {40}).DueIn(milliseconds(200)));
}

TEST_F(BatcherPromisesTest, AcceptedWorkOfAnotherModelIsProtectedToo) {
  Accept(NewCall("accepted", {50}).On(other_).DueIn(milliseconds(100)));
  EXPECT_FALSE(Enqueue(NewCall("greedy", {40}).DueIn(milliseconds(90))).ok());
  Accept(NewCall("modest", {19}).DueIn(milliseconds(90)));
  // What was accepted meanwhile stands before it, whichever model it is of: 19 + 19 ms against
  // 100 - 1.25 * (19 + 50) ms.
  ExpectBreaksAPromise(Enqueue(NewCall("one more", {19}).DueIn(milliseconds(90))),
                       microseconds(24250));
}

TEST_F(BatcherPromisesTest, WorkOfAllModelsCountsAgainstEveryPromise) {
  // Each alone could be done after the newcomer: 60 ms against 190 - 87.5 ms. Both cannot.
  Accept(NewCall("a", {70}).DueIn(milliseconds(190)));
  Accept(NewCall("b", {70}).On(other_).DueIn(milliseconds(189)));
  EXPECT_THAT(calls_.size(), 2);
  ExpectBreaksAPromise(Enqueue(NewCall("urgent", {60}).On(other_).DueIn(milliseconds(100))),
                       milliseconds(85));
}

TEST_F(BatcherPromisesTest, BulkWorkDoesNotFillABatchWithTheTimeThatAnotherModelWasPromised) {
  Accept(NewCall("a", {10}).DueIn(milliseconds(190)));
  Accept(NewCall("bulk", {90}).Bulk());
  Accept(NewCall("b", {80}).On(other_).DueIn(milliseconds(195)));
  for (const char* name : {"a", "b", "bulk"}) ASSERT_THAT(Next(), ElementsAre(name));
}

TEST_F(BatcherPromisesTest, PatientWorkDoesNotFillABatchWithTheTimeThatAnotherModelWasPromised) {
  Accept(NewCall("a", {10}).DueIn(milliseconds(190)));
  Accept(NewCall("b", {80}).On(other_).DueIn(milliseconds(195)));
  Accept(NewCall("patient", {90}).DueIn(milliseconds(900)));
  for (const char* name : {"a", "b", "patient"}) ASSERT_THAT(Next(), ElementsAre(name));
}

TEST_F(BatcherPromisesTest, PatientWorkFillsABatchWhereEveryPromiseIsKeptStill) {
  Accept(NewCall("a", {10}).DueIn(milliseconds(190)));
  Accept(NewCall("b", {40}).On(other_).DueIn(milliseconds(195)));
  Accept(NewCall("patient", {90}).DueIn(milliseconds(900)));
  EXPECT_THAT(Next(), ElementsAre("a", "patient"));
}

TEST_F(BatcherPromisesTest, TheFixedPartOfAnotherModelsStepCounts) {
  const QueueId slow = AddQueue(Options());
  Teach(slow, milliseconds(40), milliseconds(1));
  Accept(NewCall("accepted", {10}).On(slow).DueIn(milliseconds(100)));
  // The accepted work takes 1.25 * (40 + 10 + 4) ms.
  EXPECT_FALSE(Enqueue(NewCall("greedy", {34}).DueIn(milliseconds(90))).ok());
  EXPECT_FALSE(Enqueue(NewCall("late", {30}).DueIn(milliseconds(101))).ok()) << "67.5 + 37.5 ms";
  Accept(NewCall("modest", {32}).DueIn(milliseconds(90)));
}

TEST_F(BatcherPromisesTest, WorkWithoutADeadlineOfItsOwnIsNotProtected) {
  Accept(NewCall("patient", {50}).DueByDefaultIn(milliseconds(100)));
  Accept(NewCall("urgent", {70}).DueIn(milliseconds(90)));
  EXPECT_THAT(Next(), ElementsAre("urgent"));
}

TEST_F(BatcherPromisesTest, WorkWithoutADeadlineOfItsOwnStandsBeforeWhatIsPromised) {
  Accept(NewCall("patient", {40}).DueByDefaultIn(milliseconds(100)));
  Accept(NewCall("accepted", {50}).DueIn(milliseconds(190)));
  // A step of 100 ms against 190 - 1.25 * 90 ms.
  ExpectBreaksAPromise(Enqueue(NewCall("urgent", {10}).DueIn(milliseconds(80))),
                       microseconds(22500));
}

TEST_F(BatcherPromisesTest, WorkThatIsLostVetoesNobody) {
  Accept(NewCall("lost", {100}).DueIn(milliseconds(99)));  // an idle device tries
  Accept(NewCall("urgent", {40}).On(other_).DueIn(milliseconds(90)));
}

TEST_F(BatcherPromisesTest, WorkThatCanBeKeptOnlyWithoutTheMarginIsProtectedStill) {
  Accept(NewCall("tight", {100}).DueIn(milliseconds(101)));
  EXPECT_FALSE(Enqueue(NewCall("urgent", {40}).On(other_).DueIn(milliseconds(90))).ok());
}

TEST_F(BatcherPromisesTest, BehindWorkThatIsLostPromisesAreKept) {
  Accept(NewCall("lost", {100}).DueIn(milliseconds(99)));
  Accept(NewCall("accepted", {50}).DueIn(milliseconds(200)));
  // 20 ms against 200 - 1.25 * 150 ms.
  EXPECT_FALSE(Enqueue(NewCall("greedy", {20}).On(other_).DueIn(milliseconds(90))).ok());
  Accept(NewCall("modest", {12}).On(other_).DueIn(milliseconds(90)));
}

TEST_F(BatcherPromisesTest, ALongBacklogWithoutDeadlinesKeepsNobodyOut) {
  // As much as is accepted: a minute of work.
  for (int i = 0; i < 700; ++i) {
    const absl::Status status = Enqueue(NewCall("flood", {100}).DueByDefaultIn(seconds(60)));
    if (!status.ok()) break;
  }
  EXPECT_GT(batcher_.Depth(queue_).expected_wait, seconds(58));
  for (const QueueId queue : {queue_, other_}) {
    TestCall& call = Accept(NewCall("call", {10}).On(queue).DueIn(milliseconds(400)));
    Next();
    EXPECT_EQ(batch_.tasks[0], &call.task(0));
    clock_.Advance(milliseconds(100));
  }
}

}  // namespace
}  // namespace contextpool::engine
