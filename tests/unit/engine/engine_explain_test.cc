// Explanations, from the request to the answer, and ContextPool's sampled figures.

#include <atomic>
#include <chrono>
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

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(EngineTest, ExplainsEveryInputWithItsOwnTokens) {
  Start({Spec("pools")});
  for (TaskKind task : {TaskKind::kEmbed, TaskKind::kClassify}) {
    const std::vector<int32_t> ids = {testing::FakeModel::kPassId, 16, 999};
    Request request = Texts({"ab", "refused", "c"}, task);
    request.inputs.emplace_back(TokenIdsInput{ids});
    request.explain = true;
    const auto response = Send(std::move(request)).get();
    ASSERT_TRUE(response.ok()) << response.status();
    ASSERT_EQ(response->explanations.size(), 4u);
    const Explanation& first = response->explanations[0];
    EXPECT_THAT(first.tokens, ElementsAre("a", "b"));
    ASSERT_EQ(first.context_pool.size(), 8u);
    EXPECT_THAT(first.weight(0), ElementsAre(FloatEq('a'), FloatEq('b')));
    EXPECT_THAT(first.support_size(0), ElementsAre(0, 1));
    EXPECT_THAT(first.weight(1), ElementsAre(FloatEq('a'), FloatEq('b')));
    EXPECT_THAT(first.support_size(1), ElementsAre(0.5, 1.5));
    EXPECT_THAT(response->explanations[1].tokens, IsEmpty());
    EXPECT_THAT(response->explanations[1].context_pool, IsEmpty());
    EXPECT_THAT(response->explanations[2].weight(1), ElementsAre(FloatEq('c')));
    const Explanation& given = response->explanations[3];
    EXPECT_THAT(given.tokens, ElementsAre("\x0E", "\x10", "")) << "the tokeniser knows 256 tokens";
    EXPECT_THAT(given.weight(1), ElementsAre(0, FloatEq(16), FloatEq(999)));
    EXPECT_THAT(given.support_size(1), ElementsAre(0, 1.5, 2.5)) << "0 where passed through";
  }
}

TEST_F(EngineTest, ExplainsWhatIsLeftOfATruncatedInput) {
  Start({Spec("pools")});
  Request request = Texts({"0123456789abcdefXYZ"});
  request.explain = true;
  const auto response = Send(std::move(request)).get();
  ASSERT_TRUE(response.ok());
  ASSERT_EQ(response->explanations[0].tokens.size(), 16u);
  EXPECT_EQ(response->explanations[0].tokens.back(), "f");
  EXPECT_FLOAT_EQ(response->explanations[0].weight(1).back(), 'f');
}

TEST_F(EngineTest, ExplanationsOfManyInputsComeFromSeveralBatches) {
  QueueOptions queue;
  queue.batch_token_budget = 16;
  queue.batch_max_inputs = 5;
  Start({Spec("pools", queue)});
  std::atomic<int> passes{0};
  hooks_.forward = [&](const PackedBatch&) {
    ++passes;
    return absl::OkStatus();
  };
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) texts.emplace_back(1 + i % 7, static_cast<char>('A' + i));
  Request request;
  for (const std::string& text : texts) request.inputs.emplace_back(TextInput{text});
  request.explain = true;
  const auto response = Send(std::move(request)).get();
  ASSERT_TRUE(response.ok());
  EXPECT_GT(passes, 8);
  for (int i = 0; i < 40; ++i) {
    const Explanation& explanation = response->explanations[i];
    ASSERT_EQ(explanation.tokens.size(), texts[i].size());
    EXPECT_THAT(explanation.weight(0), Each(FloatEq(static_cast<float>('A' + i))));
    EXPECT_EQ(explanation.support_size(1).back(), texts[i].size() - 0.5f);
  }
}

TEST_F(EngineTest, OneBatchCarriesRequestsWithAndWithoutExplanations) {
  Start({Spec("pools")});
  HoldPasses();
  auto running = Send(Texts({"x"}));
  gate_.WaitForArrivals(1);
  auto plain = Send(Texts({"abc"}));
  Request wanted = Texts({"de"}, TaskKind::kClassify);
  wanted.explain = true;
  auto explained = Send(std::move(wanted));
  auto last = Send(Texts({"f"}));
  gate_.Open();
  EXPECT_THAT(running.get()->explanations, IsEmpty());
  EXPECT_THAT(plain.get()->explanations, IsEmpty());
  EXPECT_THAT(last.get()->row(0), ElementsAre(1, 'f'));
  const auto response = explained.get();
  EXPECT_EQ(passes_, 2);
  EXPECT_THAT(response->row(0), ElementsAre('d', -'d'));
  EXPECT_THAT(response->explanations[0].weight(0), ElementsAre(FloatEq('d'), FloatEq('e')));
  EXPECT_THAT(response->explanations[0].support_size(0), ElementsAre(0, 1));
}

TEST_F(EngineTest, FailedInputExplainsNothingAndLeavesItsNeighboursExplained) {
  Start({Spec("pools")});
  const std::vector<int32_t> bad = {7, testing::FakeModel::kNanId};
  Request request = Texts({"a"});
  request.inputs.emplace_back(TokenIdsInput{bad});
  request.inputs.emplace_back(TextInput{"b"});
  request.explain = true;
  const auto response = Send(std::move(request)).get();
  ASSERT_TRUE(response.ok());
  EXPECT_FALSE(response->results[1].status.ok());
  EXPECT_THAT(response->explanations[1].tokens, IsEmpty());
  EXPECT_THAT(response->explanations[1].context_pool, IsEmpty());
  EXPECT_THAT(response->explanations[0].weight(0), ElementsAre(FloatEq('a')));
  EXPECT_THAT(response->explanations[2].weight(0), ElementsAre(FloatEq('b')));
}

TEST_F(EngineTest, ModelWithoutContextPoolHasNothingToExplain) {
  Start({Spec("m")});
  Request request = Texts({"a"});
  request.explain = true;
  const auto refused = Send(std::move(request)).get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("options.explain: the model \"m\" has no layer with ContextPool"));
  EXPECT_EQ(engine_->Snapshot().requests_in_flight, 0);
}

TEST_F(EngineTest, ExplanationsAreBoundedTogetherUntilTheyAreAnswered) {
  const auto explained = [](const char* text) {
    Request request = Texts({text});
    request.explain = true;
    return request;
  };
  QueueOptions queue;
  queue.max_bytes = 1024;  // of which "abcd" takes about 700
  Start({Spec("pools", queue)});
  const auto too_large = Send(explained("abcdefghij")).get();
  EXPECT_EQ(too_large.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(too_large.status().message()), HasSubstr("options.explain: "));
  EXPECT_FALSE(RetryDelay(too_large.status()).has_value());

  HoldPasses();
  auto running = Send(explained("abcd"));
  gate_.WaitForArrivals(1);  // it waits no more
  auto second = Send(explained("abcd"));
  EXPECT_EQ(second.wait_for(std::chrono::seconds(10)), std::future_status::ready)
      << "refused at once, whatever runs";
  auto plain = Send(Texts({"abcdefghij"}));
  gate_.Open();
  const auto refused = second.get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("options.explain: "));
  EXPECT_TRUE(RetryDelay(refused.status()).has_value());
  EXPECT_TRUE(running.get().ok());
  EXPECT_TRUE(plain.get().ok());
  while (engine_->Snapshot().requests_in_flight > 0) std::this_thread::yield();
  EXPECT_TRUE(Send(explained("abcd")).get().ok()) << "the room is given back";
  const Stats stats = engine_->Snapshot();
  EXPECT_EQ(stats.models[0].rejected[static_cast<size_t>(RejectReason::kTooLarge)], 1u);
  EXPECT_EQ(stats.models[0].rejected[static_cast<size_t>(RejectReason::kQueueFull)], 1u);
}

TEST_F(EngineTest, SamplesContextPoolOfTheFirstBatchAndEvery64thAfterIt) {
  Start({Spec("pools")});
  ContextPoolStats stats = engine_->Snapshot().models[0].context_pool;
  ASSERT_EQ(stats.support_size.size(), 2u);
  EXPECT_EQ(Total(stats.support_size[0]), 0u) << "warming up does not count";
  EXPECT_EQ(stats.computed_tiles, 0u);
  const std::vector<int32_t> ids = {testing::FakeModel::kPassId, 5, 6, testing::FakeModel::kNanId};
  for (int i = 0; i < 66; ++i) {
    Request request = Texts({});
    request.inputs.emplace_back(TokenIdsInput{ids});
    request.explain = i % 2 == 0;
    ASSERT_TRUE(Send(std::move(request)).get().ok());
    if (i % 64 == 0) continue;  // a sample is surely counted when the next batch runs
    stats = engine_->Snapshot().models[0].context_pool;
    EXPECT_EQ(Total(stats.support_size[0]), i < 64 ? 2u : 4u) << "what is pooled and finite";
  }
  EXPECT_EQ(stats.support_size[0].sum, 2 * (1 + 2));
  EXPECT_EQ(stats.support_size[1].sum, 2 * (1.5 + 2.5));
  EXPECT_EQ(stats.computed_tiles, 2u * 4);
  EXPECT_EQ(stats.skipped_tiles, 2u * 12);
  EXPECT_EQ(stats.skipped_tiles_ratio, 0.75);
}

}  // namespace
}  // namespace contextpool::engine
