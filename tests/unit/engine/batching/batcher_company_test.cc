// Whether a device with little to do waits for more work.
#include <thread>

#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::duration;
using ::std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Steps take 10 ms and 1 ms per token. Work that came at once is remembered for 50 ms: of n inputs
// one comes every 50 / n ms.
class BatcherCompanyTest : public BatcherTest {
 protected:
  static QueueOptions Waiting(Duration max_wait) {
    QueueOptions options = Options();
    options.max_wait = max_wait;
    return options;
  }
  QueueId AddTaughtQueue(const QueueOptions& options) {
    const QueueId queue = AddQueue(options);
    Teach(queue, milliseconds(10), milliseconds(1));
    return queue;
  }
  // So many inputs came and were computed in no time.
  void Hurry(QueueId queue, int64_t inputs) {
    Accept(NewCall("hurry", std::vector<int64_t>(inputs, 1)).On(queue));
    while (batcher_.Depth(queue).inputs[0] > 0) Next();
    BecomeIdle();
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
  std::vector<double> WaitsMs() const {
    std::vector<double> waits;
    for (const Duration wait : clock_.waits()) {
      waits.push_back(duration<double, std::milli>(wait).count());
    }
    return waits;
  }
  static auto Near(double ms) { return ::testing::DoubleNear(ms, 0.001); }

  const QueueId taught_ = AddTaughtQueue(Waiting(milliseconds(20)));
};

TEST_F(BatcherCompanyTest, AnIdleDeviceStartsAtOnceWhereArrivalsAreRare) {
  Accept(NewCall("call", {10}).On(taught_));
  EXPECT_THAT(Next(), ElementsAre("call"));
  EXPECT_THAT(clock_.waits(), IsEmpty());
}

TEST_F(BatcherCompanyTest, AnIdleDeviceStartsAtOnceWhileStepTimesAreUnknown) {
  Hurry(queue_, 10);
  Accept(NewCall("call", {10}));
  EXPECT_THAT(Next(), ElementsAre("call"));
  EXPECT_THAT(clock_.waits(), IsEmpty());
}

TEST_F(BatcherCompanyTest, WaitsForTheNextArrivalWhereAStepCostsMoreAndEndsWhenNobodyComes) {
  Hurry(taught_, 10);
  Accept(NewCall("first", {10}).On(taught_));
  clock_.DuringAWait([&] { Accept(NewCall("second", {10}).On(taught_)); });
  EXPECT_THAT(Next(), ElementsAre("first", "second"));
  EXPECT_THAT(WaitsMs(), ElementsAre(Near(50.0 / 11), Near(50.0 / 12)));
}

TEST_F(BatcherCompanyTest, StopsWaitingOnceThoseWhoWaitLoseMoreThanAStepCosts) {
  Hurry(taught_, 10);
  Accept(NewCall("first", {10}).On(taught_));
  // Three would lose 3 * 50 / 13 ms, more than 10 ms.
  clock_.DuringAWait([&] { Accept(NewCall("two", {10, 10}).On(taught_)); });
  EXPECT_THAT(Next(), ElementsAre("first", "two0", "two1"));
  EXPECT_EQ(clock_.waits().size(), 1u);
}

TEST_F(BatcherCompanyTest, NeverWaitsLongerThanTheLongestWait) {
  const QueueId queue = AddTaughtQueue(Waiting(milliseconds(6)));
  Hurry(queue, 10);
  const TimePoint begin = clock_.Now();
  Accept(NewCall("first", {10}).On(queue));
  clock_.DuringAWait([&] {
    clock_.Advance(milliseconds(4));
    Accept(NewCall("second", {10}).On(queue));
  });
  EXPECT_THAT(Next(), ElementsAre("first", "second"));
  EXPECT_THAT(WaitsMs(), ElementsAre(Near(50.0 / 11), Near(2)));
  EXPECT_EQ(clock_.Now(), begin + milliseconds(6));
}

TEST_F(BatcherCompanyTest, NeverWaitsIfToldNotTo) {
  const QueueId queue = AddTaughtQueue(Waiting(Duration::zero()));
  Hurry(queue, 10);
  Accept(NewCall("call", {10}).On(queue));
  Next();
  EXPECT_THAT(clock_.waits(), IsEmpty());
}

TEST_F(BatcherCompanyTest, BeginsInTimeForTheEarliestDeadline) {
  Hurry(taught_, 10);
  // A full step takes 110 ms.
  Accept(NewCall("call", {10}).On(taught_).DueIn(milliseconds(112)));
  Next();
  EXPECT_THAT(WaitsMs(), ElementsAre(Near(2)));
}

TEST_F(BatcherCompanyTest, BeginsInTimeForBulkWorkToo) {
  Hurry(taught_, 10);
  Accept(NewCall("bulk", {10}).On(taught_).Bulk().DueIn(milliseconds(112)));
  Next();
  EXPECT_THAT(WaitsMs(), ElementsAre(Near(2)));
}

TEST_F(BatcherCompanyTest, DoesNotWaitWhereADeadlineLeavesNoTime) {
  Hurry(taught_, 10);
  Accept(NewCall("call", {10}).On(taught_).DueIn(milliseconds(109)));
  Next();
  EXPECT_THAT(clock_.waits(), IsEmpty());
}

TEST_F(BatcherCompanyTest, DoesNotWaitOnceABatchIsFull) {
  Hurry(taught_, 10);
  Accept(NewCall("call", {100}).On(taught_));
  Next();
  EXPECT_THAT(clock_.waits(), IsEmpty());
}

TEST_F(BatcherCompanyTest, DoesNotWaitOnceABatchHoldsItsMostInputs) {
  QueueOptions options = Waiting(milliseconds(20));
  options.batch_max_inputs = 1;
  const QueueId queue = AddTaughtQueue(options);
  Hurry(queue, 10);
  Accept(NewCall("call", {10}).On(queue));
  Next();
  EXPECT_THAT(clock_.waits(), IsEmpty());
}

TEST_F(BatcherCompanyTest, DoesNotWaitWhileAnotherModelHasWork) {
  Hurry(taught_, 10);
  Accept(NewCall("call", {10}).On(taught_));
  Accept(NewCall("other", {10}));
  EXPECT_THAT(Next(), ElementsAre("call"));
  EXPECT_THAT(clock_.waits(), IsEmpty());
}

TEST_F(BatcherCompanyTest, StopsWaitingWhenAnotherModelHasMoreUrgentWork) {
  Hurry(taught_, 10);
  Accept(NewCall("call", {10}).On(taught_));
  clock_.DuringAWait([&] { Accept(NewCall("other", {10}).DueIn(milliseconds(500))); });
  EXPECT_THAT(Next(), ElementsAre("other"));
  EXPECT_EQ(clock_.waits().size(), 1u);
}

TEST_F(BatcherCompanyTest, GoesOnWaitingAfterAWakeUpWithoutAReason) {
  Hurry(taught_, 10);
  Accept(NewCall("call", {10}).On(taught_));
  clock_.DuringAWait([&] { clock_.Advance(milliseconds(1)); });
  Next();
  EXPECT_THAT(WaitsMs(), ElementsAre(Near(50.0 / 11), Near(50.0 / 11 - 1)));
}

TEST_F(BatcherCompanyTest, ADrainDoesNotWait) {
  Hurry(taught_, 10);
  Accept(NewCall("call", {10}).On(taught_));
  clock_.DuringAWait([&] { batcher_.Close(); });
  EXPECT_THAT(Next(), ElementsAre("call"));
  EXPECT_EQ(clock_.waits().size(), 1u);
}

TEST_F(BatcherCompanyTest, WorkThatIsCancelledMeanwhileIsNotHandedOut) {
  Hurry(taught_, 10);
  TestCall& call = Accept(NewCall("call", {10}).On(taught_));
  clock_.DuringAWait([&] {
    batcher_.Cancel(call.work());
    batcher_.Close();
  });
  EXPECT_FALSE(batcher_.NextBatch(batch_));
  EXPECT_EQ(call.aborted(), 1);
}

TEST_F(BatcherCompanyTest, WorkThatComesAfterTheFirstWasCancelledIsWaitedWithAnew) {
  Hurry(taught_, 10);
  TestCall& cancelled = Accept(NewCall("cancelled", {10}).On(taught_));
  TestCall& call = NewCall("call", {10}).On(taught_);
  clock_.DuringAWait([&] { batcher_.Cancel(cancelled.work()); });
  std::thread caller;
  clock_.AfterAWait([&] { caller = std::thread([&] { Accept(call); }); });
  EXPECT_THAT(Next(), ElementsAre("call"));
  caller.join();
  EXPECT_THAT(WaitsMs(), ElementsAre(Near(50.0 / 11), Near(50.0 / 12)));
}

TEST_F(BatcherCompanyTest, WorkThatExpiresMeanwhileIsNotHandedOut) {
  Hurry(taught_, 10);
  Accept(NewCall("call", {10}).On(taught_));
  TestCall& late = NewCall("late", {10}).On(taught_).DueIn(milliseconds(300));
  clock_.DuringAWait([&] {
    Accept(late);
    clock_.Advance(milliseconds(300));
  });
  EXPECT_THAT(Next(), ElementsAre("call"));
  EXPECT_EQ(late.aborted(), 1);
}

}  // namespace
}  // namespace contextpool::engine
