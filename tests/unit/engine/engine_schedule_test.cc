// The batcher's rules as callers of the engine see them.
#include <chrono>
#include <future>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/retry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/unit/engine/engine_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::milliseconds;
using ::testing::ElementsAre;

using Answer = std::future<absl::StatusOr<Response>>;

class EngineScheduleTest : public EngineTest {
 protected:
  // A model that is computing a request, and a hand on when it ends.
  Answer StartBusy(QueueOptions queue = {}, const char* text = "running") {
    Start({Spec("m", queue)});
    HoldPasses();
    const int before = passes_;
    Answer running = Send(Texts({text}));
    gate_.WaitForArrivals(before + 1);
    return running;
  }

  ModelStats Model() { return engine_->Snapshot().models[0]; }
  uint64_t Dropped(DropReason reason) { return Model().dropped[static_cast<size_t>(reason)]; }
};

TEST_F(EngineScheduleTest, WorkThatExpiresIsAnsweredWhileTheDeviceIsBusy) {
  Answer running = StartBusy();
  Request late = Texts({"a", "b"});
  late.deadline = Clock::Real().Now() + milliseconds(5);
  // Answered although the step does not end.
  EXPECT_EQ(Send(std::move(late)).get().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Dropped(DropReason::kDeadline), 2u);
  EXPECT_EQ(Model().queue_inputs[0], 0);
  EXPECT_EQ(Model().queue_bytes, 0);
  gate_.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_EQ(passes_, 1);
}

TEST_F(EngineScheduleTest, CancelledWorkIsAnsweredWhileTheDeviceIsBusy) {
  Answer running = StartBusy();
  std::stop_source caller;
  Request request = Texts({"a", "b", "c"});
  request.stop = caller.get_token();
  Answer cancelled = Send(std::move(request));
  EXPECT_EQ(Model().queue_inputs[0], 3);
  EXPECT_GT(Model().queue_bytes, 0);
  caller.request_stop();
  EXPECT_EQ(cancelled.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Dropped(DropReason::kCancelled), 3u);
  EXPECT_EQ(Model().queue_inputs[0], 0);
  EXPECT_EQ(Model().queue_bytes, 0);
  gate_.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_EQ(passes_, 1);
}

TEST_F(EngineScheduleTest, ACallerThatGaveUpBeforeIsRefused) {
  Start({Spec("m")});
  std::stop_source caller;
  caller.request_stop();
  Request request = Texts({"a"});
  request.stop = caller.get_token();
  EXPECT_EQ(Send(std::move(request)).get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Dropped(DropReason::kCancelled), 1u);
}

TEST_F(EngineScheduleTest, GivingUpWhileTheLastStepRunsStillAnswersOnce) {
  Start({Spec("m")});
  HoldPasses();
  std::stop_source caller;
  Request request = Texts({"a"});
  request.stop = caller.get_token();
  Answer running = Send(std::move(request));
  gate_.WaitForArrivals(1);
  caller.request_stop();
  gate_.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_EQ(Dropped(DropReason::kCancelled), 0u);
}

TEST_F(EngineScheduleTest, CancellingHalfComputedWorkDropsTheRest) {
  QueueOptions queue;
  queue.batch_max_inputs = 1;
  Start({Spec("m", queue)});
  HoldPasses();
  std::stop_source caller;
  Request request = Texts({"a", "b", "c"});
  request.stop = caller.get_token();
  Answer half = Send(std::move(request));
  gate_.WaitForArrivals(1);
  caller.request_stop();
  EXPECT_EQ(Dropped(DropReason::kCancelled), 2u);
  gate_.Open();
  EXPECT_EQ(half.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(passes_, 1);
}

TEST_F(EngineScheduleTest, BulkWorkWaitsForInteractiveWorkThatCameLater) {
  QueueOptions queue;
  queue.batch_max_inputs = 1;
  Answer running = StartBusy(queue);
  std::vector<int32_t> order;
  hooks_.forward = [&](const PackedBatch& batch) {
    order.push_back(batch.token_ids[0]);
    return absl::OkStatus();
  };
  Request bulk = Texts({"b"});
  bulk.priority = Priority::kBulk;
  Answer later = Send(std::move(bulk));
  Answer sooner = Send(Texts({"a"}));
  gate_.Open();
  EXPECT_TRUE(later.get().ok());
  EXPECT_TRUE(sooner.get().ok());
  EXPECT_THAT(order, ElementsAre('a', 'b'));
}

TEST_F(EngineScheduleTest, OnlyADeadlineThatTheCallerBroughtIsAPromise) {
  for (const bool brought : {true, false}) {
    testing::FakeClock time;
    clock_ = &time;
    // 16 tokens take 100 ms, and are expected to take 125.
    hooks_.forward = [&](const PackedBatch&) {
      time.Advance(milliseconds(100));
      return absl::OkStatus();
    };
    QueueOptions queue;
    queue.batch_max_inputs = 1;
    queue.default_deadline = milliseconds(260);
    gate_.Open();
    Answer running = StartBusy(queue, "0123456789abcdef");
    Request first = Texts({"first 89abcdef.."});
    if (brought) first.deadline = time.Now() + milliseconds(260);
    Answer promised = Send(std::move(first));
    // Would be done in time itself, but is due before the first.
    Request second = Texts({"second 9abcdef.."});
    second.deadline = time.Now() + milliseconds(255);
    Answer between = Send(std::move(second));
    EXPECT_EQ(Model().queue_inputs[0], brought ? 1 : 2);
    gate_.Open();
    EXPECT_TRUE(running.get().ok());
    EXPECT_TRUE(promised.get().ok());
    EXPECT_EQ(absl::IsResourceExhausted(between.get().status()), brought);
    engine_.reset();
  }
}

TEST_F(EngineScheduleTest, TheEarlierDeadlineIsComputedFirst) {
  QueueOptions queue;
  queue.batch_max_inputs = 1;
  Answer running = StartBusy(queue);
  std::vector<int32_t> order;
  hooks_.forward = [&](const PackedBatch& batch) {
    order.push_back(batch.token_ids[0]);
    return absl::OkStatus();
  };
  std::vector<Answer> answers;
  const TimePoint now = Clock::Real().Now();
  for (const auto& [text, seconds] : {std::pair{"c", 300}, {"a", 100}, {"b", 200}}) {
    Request request = Texts({text});
    request.deadline = now + std::chrono::seconds(seconds);
    answers.push_back(Send(std::move(request)));
  }
  gate_.Open();
  for (Answer& answer : answers) EXPECT_TRUE(answer.get().ok());
  EXPECT_THAT(order, ElementsAre('a', 'b', 'c'));
}

TEST_F(EngineScheduleTest, TheSameInputInFlightIsComputedOnce) {
  Answer running = StartBusy();
  std::vector<int> sizes;
  hooks_.forward = [&](const PackedBatch& batch) {
    sizes.push_back(batch.sequences());
    return absl::OkStatus();
  };
  Answer first = Send(Texts({"same", "other", "same"}));
  Answer second = Send(Texts({"same"}));
  Answer joins = Send(Texts({"running"}));  // while it is being computed
  gate_.Open();
  const auto two = first.get();
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_EQ(two->row(0)[1], two->row(2)[1]);
  EXPECT_NE(two->row(0)[1], two->row(1)[1]);
  const auto one = second.get();
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->row(0)[1], two->row(0)[1]);
  EXPECT_EQ(joins.get()->row(0)[1], running.get()->row(0)[1]);
  EXPECT_THAT(sizes, ElementsAre(2));
  EXPECT_EQ(Model().coalesced_inputs, 3u);
}

TEST_F(EngineScheduleTest, TheSameInputForAnotherOutputIsComputedAgain) {
  Answer running = StartBusy();
  std::vector<int> sizes;
  hooks_.forward = [&](const PackedBatch& batch) {
    sizes.push_back(batch.sequences());
    return absl::OkStatus();
  };
  Request raw = Texts({"a"});
  raw.normalize = true;
  Request cls = Texts({"a"});
  cls.normalize = false;
  Answer answers[] = {Send(std::move(raw)), Send(std::move(cls)),
                      Send(Texts({"a"}, TaskKind::kClassify))};
  gate_.Open();
  for (Answer& answer : answers) EXPECT_TRUE(answer.get().ok());
  EXPECT_THAT(sizes, ElementsAre(3));
  EXPECT_EQ(Model().coalesced_inputs, 0u);
}

TEST_F(EngineScheduleTest, ATwinSurvivesThatItsElderIsCancelled) {
  Answer running = StartBusy();
  std::stop_source caller;
  Request elder = Texts({"same"});
  elder.stop = caller.get_token();
  Answer cancelled = Send(std::move(elder));
  Answer twin = Send(Texts({"same"}));
  caller.request_stop();
  gate_.Open();
  EXPECT_EQ(cancelled.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(twin.get().ok());
}

TEST_F(EngineScheduleTest, KnownResultsComeFromTheCacheWhereThereIsOne) {
  QueueOptions queue;
  queue.result_cache_bytes = 1 << 20;
  Start({Spec("m", queue)});
  std::atomic<int> sequences{0};
  hooks_.forward = [&](const PackedBatch& batch) {
    sequences += batch.sequences();
    return absl::OkStatus();
  };
  const auto first = Send(Texts({"a", "b"})).get();
  const auto second = Send(Texts({"b", "c", "a"})).get();
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(sequences, 3);
  EXPECT_THAT(second->row(0), ElementsAre(1, 'b'));
  EXPECT_THAT(second->row(1), ElementsAre(1, 'c'));
  EXPECT_THAT(second->row(2), ElementsAre(1, 'a'));
  EXPECT_EQ(second->results[0].tokens_used, 1);
  const auto third = Send(Texts({"c"})).get();  // nothing to compute
  ASSERT_TRUE(third.ok());
  EXPECT_THAT(third->row(0), ElementsAre(1, 'c'));
  EXPECT_EQ(sequences, 3);
  EXPECT_EQ(Model().cache_hits, 3u);
  EXPECT_EQ(Model().cache_misses, 3u);
  EXPECT_GT(Model().cache_bytes, 0);
}

TEST_F(EngineScheduleTest, WithoutACacheNothingIsKept) {
  Start({Spec("m")});
  std::atomic<int> sequences{0};
  hooks_.forward = [&](const PackedBatch& batch) {
    sequences += batch.sequences();
    return absl::OkStatus();
  };
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Send(Texts({"a"})).get().ok());
  EXPECT_EQ(sequences, 3);
  EXPECT_EQ(Model().cache_hits + Model().cache_misses, 0u);
}

TEST_F(EngineScheduleTest, FailedResultsAreNotKept) {
  QueueOptions queue;
  queue.result_cache_bytes = 1 << 20;
  Start({Spec("m", queue)});
  const std::vector<int32_t> bad = {testing::FakeModel::kNanId};
  for (int i = 0; i < 2; ++i) {
    Request request;
    request.inputs.emplace_back(TokenIdsInput{bad});
    EXPECT_EQ(Send(std::move(request)).get()->results[0].status.code(),
              absl::StatusCode::kInternal);
  }
  EXPECT_EQ(Model().cache_hits, 0u);
  EXPECT_EQ(Model().cache_bytes, 0);
}

}  // namespace
}  // namespace contextpool::engine
