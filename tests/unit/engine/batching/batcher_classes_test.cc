// How interactive and bulk work share a device.
#include <array>
#include <utility>

#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::milliseconds;
using ::testing::ElementsAre;

class BatcherClassesTest : public BatcherTest {
 protected:
  static QueueOptions Weights(int32_t interactive, int32_t bulk) {
    QueueOptions options = Options();
    options.interactive_weight = interactive;
    options.bulk_weight = bulk;
    return options;
  }

  void Interactive(QueueId queue, int64_t tokens) {
    Accept(NewCall("interactive", {tokens}).On(queue));
  }
  void Bulk(QueueId queue, int64_t tokens) { Accept(NewCall("bulk", {tokens}).On(queue).Bulk()); }

  // Tokens of each class that so many batches hold where tasks of both classes always wait.
  std::array<double, kPriorities> Shares(QueueId queue, int64_t interactive, int64_t bulk,
                                         int batches) {
    std::array<double, kPriorities> tokens{};
    for (int i = 0; i < batches; ++i) {
      const QueueDepth depth = batcher_.Depth(queue);
      for (int64_t n = depth.tokens[0]; n < 2 * kBudget; n += interactive) {
        Interactive(queue, interactive);
      }
      for (int64_t n = depth.tokens[1]; n < 2 * kBudget; n += bulk) Bulk(queue, bulk);
      Next();
      for (const Task* task : batch_.tasks) {
        tokens[static_cast<size_t>(task->queued.submission->priority)] +=
            static_cast<double>(task->cost);
      }
    }
    return tokens;
  }
};

TEST_F(BatcherClassesTest, InteractiveWorkPassesBulkWorkWhateverTheDeadlines) {
  Accept(NewCall("bulk", {100}).Bulk().DueIn(milliseconds(1)));
  Accept(NewCall("interactive", {100}));
  EXPECT_THAT(Next(), ElementsAre("interactive"));
  EXPECT_THAT(Next(), ElementsAre("bulk"));
}

TEST_F(BatcherClassesTest, BulkWorkFillsWhatInteractiveWorkLeavesOpen) {
  Accept(NewCall("bulk", {50, 50}).Bulk());
  Accept(NewCall("interactive", {50}));
  EXPECT_THAT(Next(), ElementsAre("interactive", "bulk0"));
  EXPECT_THAT(Next(), ElementsAre("bulk1"));
}

TEST_F(BatcherClassesTest, ABulkRequestOfManyBatchesDelaysACallByNoMoreThanTheRunningStep) {
  Accept(NewCall("bulk", std::vector<int64_t>(20, 100)).Bulk());
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(Next(), ElementsAre("bulk" + std::to_string(i)));
    Accept(NewCall("interactive", {10}));
    EXPECT_THAT(Next(), ElementsAre("interactive"));
  }
}

TEST_F(BatcherClassesTest, BulkWorkIsServedOnceItsCreditIsAWholeBatch) {
  // Eight interactive batches earn a bulk one.
  for (int i = 0; i < 10; ++i) Interactive(queue_, 100);
  Bulk(queue_, 100);
  Bulk(queue_, 100);
  for (int i = 0; i < 8; ++i) EXPECT_THAT(Next(), ElementsAre("interactive")) << i;
  EXPECT_THAT(Next(), ElementsAre("bulk"));
  EXPECT_THAT(Next(), ElementsAre("interactive")) << "the credit is used up";
  EXPECT_THAT(Next(), ElementsAre("interactive"));
  EXPECT_THAT(Next(), ElementsAre("bulk"));
}

TEST_F(BatcherClassesTest, AnOwedBatchIsFilledWithInteractiveWork) {
  const QueueId queue = AddQueue(Weights(1, 1));
  Bulk(queue, 70);
  Interactive(queue, 100);
  Interactive(queue, 30);
  EXPECT_THAT(Next(), ElementsAre("interactive"));
  EXPECT_THAT(Next(), ElementsAre("bulk", "interactive"));
}

TEST_F(BatcherClassesTest, CreditTakesBulkWorkAlongBehindTheFirstInteractiveTask) {
  const QueueId queue = AddQueue(Weights(1, 1));
  Bulk(queue, 40);
  for (int i = 0; i < 3; ++i) Interactive(queue, 30);
  // 30 tokens earned credit for 30; with another 30 it would be enough.
  EXPECT_THAT(Next(), ElementsAre("interactive", "interactive", "interactive"));
  Interactive(queue, 30);
  Interactive(queue, 30);
  EXPECT_THAT(Next(), ElementsAre("interactive", "bulk", "interactive"));
}

TEST_F(BatcherClassesTest, BulkWorkBeyondItsCreditWaitsForInteractiveWork) {
  const QueueId queue = AddQueue(Weights(1, 1));
  Bulk(queue, 40);
  Bulk(queue, 40);
  Interactive(queue, 40);
  Interactive(queue, 40);
  // Credit for one of the two; then the second interactive task, and nothing else fits.
  EXPECT_THAT(Next(), ElementsAre("interactive", "bulk"));
  EXPECT_THAT(Next(), ElementsAre("interactive", "bulk"));
}

TEST_F(BatcherClassesTest, CreditIsEarnedOnlyWhileBulkWorkWaits) {
  const QueueId queue = AddQueue(Weights(1, 1));
  Interactive(queue, 100);
  Next();
  Bulk(queue, 100);
  Interactive(queue, 50);
  EXPECT_THAT(Next(), ElementsAre("interactive"));
}

TEST_F(BatcherClassesTest, CreditIsForgottenOnceNoBulkWorkWaits) {
  const QueueId queue = AddQueue(Weights(1, 1));
  TestCall& bulk = Accept(NewCall("bulk", {100}).On(queue).Bulk());
  Interactive(queue, 100);
  Next();
  batcher_.Cancel(bulk.work());
  Bulk(queue, 100);
  Interactive(queue, 100);
  EXPECT_THAT(Next(), ElementsAre("interactive"));
}

TEST_F(BatcherClassesTest, BulkWorkThatFilledABatchUsesUpItsCredit) {
  const QueueId queue = AddQueue(Weights(1, 1));
  for (int i = 0; i < 3; ++i) Bulk(queue, 60);
  Interactive(queue, 40);
  EXPECT_THAT(Next(), ElementsAre("interactive", "bulk")) << "credit for 40, of which 60 were used";
  Interactive(queue, 60);
  EXPECT_THAT(Next(), ElementsAre("interactive")) << "credit for 60, and no room";
  Interactive(queue, 50);
  EXPECT_THAT(Next(), ElementsAre("interactive")) << "credit for 110";
  Interactive(queue, 50);
  EXPECT_THAT(Next(), ElementsAre("bulk"));
}

TEST_F(BatcherClassesTest, AnotherModelsInteractiveWorkEarnsCreditToo) {
  const QueueId busy = AddQueue(Options());
  Bulk(queue_, 100);
  for (int i = 0; i < 9; ++i) Interactive(busy, 100);
  for (int i = 0; i < 8; ++i) EXPECT_THAT(Next(), ElementsAre("interactive")) << i;
  EXPECT_THAT(Next(), ElementsAre("bulk"));
  EXPECT_EQ(batch_.queue, queue_);
  EXPECT_THAT(Next(), ElementsAre("interactive"));
}

TEST_F(BatcherClassesTest, OfTwoOwedBatchesTheMoreUrgentGoesFirst) {
  const QueueId busy = AddQueue(Options());
  const QueueId other = AddQueue(Options());
  Accept(NewCall("late", {100}).Bulk().DueIn(milliseconds(90)));
  Accept(NewCall("urgent", {100}).On(other).Bulk().DueIn(milliseconds(10)));
  // Two share what is earned.
  for (int i = 0; i < 16; ++i) Interactive(busy, 100);
  for (int i = 0; i < 16; ++i) EXPECT_THAT(Next(), ElementsAre("interactive")) << i;
  Interactive(busy, 100);
  EXPECT_THAT(Next(), ElementsAre("urgent"));
  EXPECT_THAT(Next(), ElementsAre("late"));
  EXPECT_THAT(Next(), ElementsAre("interactive"));
}

TEST_F(BatcherClassesTest, BulkWorkOfManyModelsGetsNoMoreThanThatOfOne) {
  const QueueId busy = AddQueue(Options());
  std::vector<QueueId> models;
  for (int i = 0; i < 12; ++i) models.push_back(AddQueue(Options()));
  int bulk = 0;
  for (int i = 0; i < 900; ++i) {
    if (batcher_.Depth(busy).inputs[0] == 0) Interactive(busy, 100);
    for (const QueueId model : models) {
      if (batcher_.Depth(model).inputs[1] == 0) Bulk(model, 100);
    }
    Next();
    if (batch_.queue != busy) ++bulk;
  }
  // A ninth, less what is not owed yet.
  EXPECT_LE(bulk, 100);
  EXPECT_GE(bulk, 100 - 12);
}

struct WeightsCase {
  int32_t interactive;
  int32_t bulk;
};

class BatcherWeightsTest : public BatcherClassesTest,
                           public ::testing::WithParamInterface<WeightsCase> {};

TEST_P(BatcherWeightsTest, BothClassesGetTheirWeightsToWithinABatch) {
  const auto [interactive_weight, bulk_weight] = GetParam();
  const double share = static_cast<double>(bulk_weight) / interactive_weight;
  // Sizes that fill batches, and sizes that leave room.
  for (const auto& [interactive, bulk] :
       {std::pair(10, 10), std::pair(50, 70), std::pair(60, 60)}) {
    const QueueId queue = AddQueue(Weights(interactive_weight, bulk_weight));
    const auto [interactive_tokens, bulk_tokens] = Shares(queue, interactive, bulk, 1000);
    EXPECT_NEAR(bulk_tokens, share * interactive_tokens, kBudget * (1 + share))
        << interactive << " beside " << bulk;
    while (batcher_.Depth(queue).bytes > 0) Next();
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, BatcherWeightsTest,
                         ::testing::Values(WeightsCase{8, 1}, WeightsCase{1, 1}, WeightsCase{3, 2},
                                           WeightsCase{1, 8}, WeightsCase{100, 1}),
                         [](const auto& info) {
                           return std::to_string(info.param.interactive) + "To" +
                                  std::to_string(info.param.bulk);
                         });

}  // namespace
}  // namespace contextpool::engine
