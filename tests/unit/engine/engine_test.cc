#include "engine/engine.h"

#include <atomic>
#include <cstdint>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/retry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/engine_fixture.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(EngineTest, AnswersEveryInputInItsOwnRow) {
  Start({Spec("m")});
  const auto response = Send(Texts({"ab", "c"})).get();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->model->name, "m");
  EXPECT_THAT(response->row(0), ElementsAre(2, 'a' + 'b'));
  EXPECT_THAT(response->row(1), ElementsAre(1, 'c'));
  EXPECT_EQ(response->results[0].tokens_used, 2);
  EXPECT_GT(response->timing.compute, Duration::zero());
}

TEST_F(EngineTest, FaultOfOneInputLeavesTheOthersAlone) {
  Start({Spec("m")});
  const auto response = Send(Texts({"a", "refused", "", "b"})).get();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_TRUE(response->results[0].status.ok());
  EXPECT_EQ(response->results[1].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(response->results[1].status.message(), "inputs[1].text: is refused");
  EXPECT_EQ(response->results[2].status.message(), "inputs[2].text: has no token");
  EXPECT_THAT(response->row(1), ElementsAre(0, 0));
  EXPECT_THAT(response->row(3), ElementsAre(1, 'b'));
}

TEST_F(EngineTest, RequestWhoseInputsAllFailIsStillAnswered) {
  Start({Spec("m")});
  const auto response = Send(Texts({"refused"})).get();
  ASSERT_TRUE(response.ok());
  EXPECT_FALSE(response->results[0].status.ok());
}

TEST_F(EngineTest, TokenIdsAreUsedAsGivenAndChecked) {
  Start({Spec("m")});
  const std::vector<int32_t> good = {5, 6};
  const std::vector<int32_t> none;
  const std::vector<int32_t> outside = {1, 1000};
  const std::vector<int32_t> negative = {-1};
  const std::vector<int32_t> many(17, 1);
  Request request;
  for (const auto* ids : {&good, &none, &outside, &negative, &many}) {
    request.inputs.emplace_back(TokenIdsInput{*ids});
  }
  request.inputs.emplace_back(TextInput{"a"});
  const auto response = Send(std::move(request)).get();
  ASSERT_TRUE(response.ok());
  EXPECT_THAT(response->row(0), ElementsAre(2, 11));
  EXPECT_THAT(std::string(response->results[1].status.message()),
              HasSubstr("inputs[1].token_ids: holds no token id"));
  EXPECT_THAT(std::string(response->results[2].status.message()),
              HasSubstr("inputs[2].token_ids: ids[1] is 1000"));
  EXPECT_THAT(std::string(response->results[3].status.message()), HasSubstr("ids[0] is -1"));
  EXPECT_THAT(std::string(response->results[4].status.message()), HasSubstr("holds 17 ids"));
  EXPECT_THAT(response->row(5), ElementsAre(1, 'a'));
}

TEST_F(EngineTest, NonFiniteOutputIsTheErrorOfThatInputAlone) {
  Start({Spec("m")});
  const std::vector<int32_t> bad = {testing::FakeModel::kNanId};
  Request request = Texts({"a"});
  request.inputs.emplace_back(TokenIdsInput{bad});
  const auto response = Send(std::move(request)).get();
  ASSERT_TRUE(response.ok());
  EXPECT_TRUE(response->results[0].status.ok());
  EXPECT_EQ(response->results[1].status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(response->row(1), ElementsAre(0, 0));
}

TEST_F(EngineTest, MergesCallersOfBothTasksIntoOneBatch) {
  Start({Spec("m")});
  Gate gate;
  std::vector<int> sizes;
  hooks_.forward = [&](const PackedBatch& batch) {
    sizes.push_back(batch.sequences());
    gate.Pass();
    return absl::OkStatus();
  };
  gate.Close();
  auto first = Send(Texts({"a"}));
  gate.WaitForArrivals(1);
  auto second = Send(Texts({"b"}));
  auto third = Send(Texts({"c", "d"}, TaskKind::kClassify));
  gate.Open();
  EXPECT_THAT(first.get()->row(0), ElementsAre(1, 'a'));
  EXPECT_THAT(second.get()->row(0), ElementsAre(1, 'b'));
  const auto classified = third.get();
  EXPECT_THAT(classified->row(0), ElementsAre('c', -'c'));
  EXPECT_THAT(classified->row(1), ElementsAre('d', -'d'));
  EXPECT_THAT(sizes, ElementsAre(1, 3));
}

TEST_F(EngineTest, FullQueueRefusesWithARetryDelayAndCountsIt) {
  QueueOptions queue;
  queue.max_inputs = 2;
  Start({Spec("m", queue)});
  HoldPasses();
  auto running = Send(Texts({"a"}));
  gate_.WaitForArrivals(1);
  auto waiting = Send(Texts({"b", "c"}));
  const auto refused = Send(Texts({"d"})).get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryDelay(refused.status()).has_value());
  const auto too_large = Send(Texts({"a", "b", "c"})).get();
  EXPECT_EQ(too_large.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(RetryDelay(too_large.status()).has_value());
  EXPECT_EQ(engine_->Snapshot().requests_in_flight, 2);
  EXPECT_EQ(engine_->Snapshot().models[0].queue_inputs[0], 2);
  gate_.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_TRUE(waiting.get().ok());
  const Stats stats = engine_->Snapshot();
  EXPECT_EQ(stats.models[0].rejected[static_cast<size_t>(RejectReason::kQueueFull)], 1u);
  EXPECT_EQ(stats.models[0].rejected[static_cast<size_t>(RejectReason::kTooLarge)], 1u);
}

TEST_F(EngineTest, DeadlineThatPassesInTheQueueFailsTheRequestUncomputed) {
  Start({Spec("m")});
  HoldPasses();
  auto running = Send(Texts({"a"}));
  gate_.WaitForArrivals(1);
  Request late = Texts({"b"});
  late.deadline = Clock::Real().Now();
  auto expired = Send(std::move(late));
  gate_.Open();
  EXPECT_EQ(expired.get().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(running.get().ok());
  EXPECT_EQ(passes_, 1);
  EXPECT_EQ(engine_->Snapshot().models[0].dropped[static_cast<size_t>(DropReason::kDeadline)], 1u);
}

TEST_F(EngineTest, WorkOfACancelledCallIsDroppedBeforeItIsComputed) {
  Start({Spec("m")});
  HoldPasses();
  auto running = Send(Texts({"a"}));
  gate_.WaitForArrivals(1);
  std::stop_source caller;
  Request request = Texts({"b"});
  request.stop = caller.get_token();
  auto cancelled = Send(std::move(request));
  caller.request_stop();
  gate_.Open();
  EXPECT_EQ(cancelled.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(running.get().ok());
  EXPECT_EQ(passes_, 1);
  EXPECT_EQ(engine_->Snapshot().models[0].dropped[static_cast<size_t>(DropReason::kCancelled)], 1u);
}

TEST_F(EngineTest, FailedPassFailsItsRequestsAndTheNextOnesWork) {
  Start({Spec("m")});
  hooks_.forward = [](const PackedBatch&) { return absl::InternalError("the device is hot"); };
  EXPECT_EQ(Send(Texts({"a"})).get().status().code(), absl::StatusCode::kInternal);
  hooks_.forward = nullptr;
  device_->next_failure = absl::InternalError("the device is hot");
  EXPECT_EQ(Send(Texts({"a"})).get().status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(Send(Texts({"a"})).get().ok());
}

TEST_F(EngineTest, ModelsAreFoundByNameAndVersion) {
  ModelSpec second = Spec("a");
  second.version = 2;
  Start({Spec("a"), second, Spec("b")});
  Request request = Texts({"x"});
  request.model = "a";
  EXPECT_EQ(Send(std::move(request)).get()->model->version, 2);
  request = Texts({"x"});
  request.model = "a";
  request.version = 1;
  EXPECT_EQ(Send(std::move(request)).get()->model->version, 1);
  request = Texts({"x"});
  request.model = "nobody";
  const auto unknown = Send(std::move(request)).get();
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("\"a\", \"b\""));
  const auto ambiguous = Send(Texts({"x"})).get();
  EXPECT_EQ(ambiguous.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ambiguous.status().message()),
              HasSubstr("several models offer embeddings of text: \"a\", \"b\""));
  request = Texts({"x"});
  request.version = 1;
  EXPECT_THAT(std::string(Send(std::move(request)).get().status().message()),
              HasSubstr("model.version"));
}

TEST_F(EngineTest, VersionsOfTheOnlyModelNeedNoName) {
  ModelSpec second = Spec("a");
  second.version = 2;
  Start({Spec("a"), second});
  EXPECT_EQ(Send(Texts({"x"})).get()->model->version, 2);
  EXPECT_EQ(engine_->GetModel("", 0)->info->version, 2);
}

TEST_F(EngineTest, DrainFinishesAcceptedWorkAndRefusesNewWork) {
  Start({Spec("m")});
  HoldPasses();
  std::vector<std::future<absl::StatusOr<Response>>> accepted;
  for (int i = 0; i < 8; ++i) accepted.push_back(Send(Texts({"a"})));
  gate_.WaitForArrivals(1);
  std::thread drain([&] { engine_->Drain(); });
  gate_.Open();
  drain.join();
  for (auto& call : accepted) EXPECT_TRUE(call.get().ok());
  EXPECT_EQ(Send(Texts({"b"})).get().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, TokenizeRefusesAnAnswerLargerThanAskedFor) {
  Start({Spec("m")});
  TokenizeOptions options;
  options.max_bytes = 2 * (kTokenizeBytesPerToken + 1);  // two tokens of one character
  EXPECT_TRUE(engine_->Tokenize(options, {"ab"}).ok());
  const absl::Status status = engine_->Tokenize(options, {"ab", "cd", "ef"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the first 2 of 3 texts"));
}

TEST_F(EngineTest, TokenizeAnswersTextByText) {
  Start({Spec("m")});
  const auto response = engine_->Tokenize({}, {"ab", "refused", "0123456789abcdefg"});
  ASSERT_TRUE(response.ok());
  EXPECT_THAT(response->results[0].ids, ElementsAre('a', 'b'));
  EXPECT_EQ(response->results[1].status.message(), "texts[1]: is refused");
  EXPECT_TRUE(response->results[2].truncated);
  EXPECT_EQ(response->results[2].tokens_seen, 17);
}

TEST_F(EngineTest, EveryCallOfManyThreadsGetsItsOwnAnswer) {
  Start({Spec("a"), Spec("b")});
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      const std::string text(1 + t, static_cast<char>('a' + t));
      for (int i = 0; i < 200; ++i) {
        Request request = Texts({text.c_str()});
        request.model = i % 2 == 0 ? "a" : "b";
        const auto response = Send(std::move(request)).get();
        ASSERT_TRUE(response.ok());
        EXPECT_THAT(response->row(0), ElementsAre(1 + t, (1 + t) * ('a' + t)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  engine_->Drain();  // a request is in flight until its callback has returned
  EXPECT_EQ(engine_->Snapshot().requests_in_flight, 0);
}

}  // namespace
}  // namespace contextpool::engine
