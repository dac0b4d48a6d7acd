// Images, from the request to the answer.

#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/base/retry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/png.h"
#include "tests/unit/engine/engine_fixture.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The files must outlive the request.
Request Images(const std::vector<absl::string_view>& files) {
  Request request;
  for (absl::string_view file : files) request.inputs.emplace_back(ImageInput{file});
  return request;
}

ModelStats StatsOf(const Engine& engine, const std::string& name) {
  Stats stats = engine.Snapshot();
  for (ModelStats& model : stats.models) {
    if (model.info->name == name) return std::move(model);
  }
  return {};
}

uint64_t Count(const ModelStats& stats, Stage stage) {
  return Total(stats.stage_seconds[static_cast<size_t>(stage)]);
}

TEST_F(EngineTest, AnswersEveryImageInItsPlaceAndBadOnesWithTheirOwnError) {
  Start({Spec("images")});
  const std::string first = testing::Png(2, 2, {1, 2, 3});
  const std::string last = testing::Png(9, 4, {10, 0, 0});
  const auto response = Send(Images({first, "no image", last})).get();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_THAT(response->row(0), ElementsAre(5, 4 * 6));
  EXPECT_EQ(response->results[1].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(response->results[1].status.message(), HasSubstr("inputs[1].image: "));
  EXPECT_THAT(response->row(1), ElementsAre(0, 0));
  EXPECT_THAT(response->row(2), ElementsAre(5, 4 * 10));
  EXPECT_EQ(response->results[2].tokens_used, 5);
}

TEST_F(EngineTest, AnswersARequestOfWhichNoImageIsGood) {
  Start({Spec("images")});
  const auto response = Send(Images({"", "\xFF\xD8 but no more"})).get();
  ASSERT_TRUE(response.ok()) << response.status();
  for (const InputResult& result : response->results) {
    EXPECT_EQ(result.status.code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(EngineTest, TellsWhatEachModelReads) {
  Start({Spec("images"), Spec("m")});
  const std::string file = testing::Png(1, 1, {1, 1, 1});
  Request mixed = Images({file});
  mixed.inputs.emplace_back(TextInput{"text"});
  mixed.inputs.emplace_back(TokenIdsInput{});
  const auto response = Send(std::move(mixed)).get();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_TRUE(response->results[0].status.ok()) << "the only model that reads images";
  EXPECT_THAT(response->results[1].status.message(), HasSubstr("inputs[1].text: the model reads"));
  EXPECT_THAT(response->results[2].status.message(), HasSubstr("inputs[2].token_ids: "));
}

TEST_F(EngineTest, RefusesAPoolingThatTheModelDoesNotOffer) {
  Start({Spec("images"), Spec("m")});
  const std::string file = testing::Png(1, 1, {1, 1, 1});
  Request request = Images({file});
  request.pooling = Pooling::kMax;
  const absl::Status refused = Send(request).get().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.message(), HasSubstr("options.pooling: the model \"images\""));
  request.pooling = Pooling::kMean;
  EXPECT_TRUE(Send(request).get().ok()) << "its own";
  Request text;
  text.inputs = {TextInput{"text"}};
  text.pooling = Pooling::kMax;
  EXPECT_TRUE(Send(text).get().ok()) << "of a model that offers all";
}

TEST_F(EngineTest, ReadsImagesWithoutATokenizer) {
  tokenizer_error_ = absl::NotFoundError("tokenizer.json: no such file");
  Start({Spec("images"), Spec("m")});
  EXPECT_EQ(FailureOf("images"), "");
  EXPECT_THAT(FailureOf("m"), HasSubstr("tokenizer.json"));
}

TEST_F(EngineTest, ImagesWhoseCallerGaveUpAreNotDecoded) {
  Start({Spec("images")});
  const std::string file = testing::Png(1, 1, {1, 1, 1});
  std::stop_source gave_up;
  gave_up.request_stop();
  Request request = Images({file, file});
  request.stop = gave_up.get_token();
  EXPECT_EQ(Send(std::move(request)).get().status().code(), absl::StatusCode::kCancelled);
  const ModelStats stats = StatsOf(*engine_, "images");
  EXPECT_EQ(Count(stats, Stage::kDecodeImage), 0u);
  EXPECT_EQ(stats.dropped[static_cast<size_t>(DropReason::kCancelled)], 2u);
}

TEST_F(EngineTest, ImagesWhoseDeadlinePassedAreNotDecoded) {
  Start({Spec("images")});
  Request request = Images({"whatever"});
  request.deadline = Clock::Real().Now() - std::chrono::seconds(1);
  EXPECT_EQ(Send(std::move(request)).get().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Count(StatsOf(*engine_, "images"), Stage::kDecodeImage), 0u);
}

TEST_F(EngineTest, KeptResultsAreNotGivenToImagesThatWereNotDecoded) {
  QueueOptions queue;
  queue.result_cache_bytes = 1 << 20;
  Start({Spec("images", queue)});
  const std::string file = testing::Png(1, 1, {7, 7, 7});
  ASSERT_TRUE(Send(Images({file})).get().ok());
  Request late = Images({file});
  late.deadline = Clock::Real().Now() - std::chrono::seconds(1);
  EXPECT_EQ(Send(std::move(late)).get().status().code(), absl::StatusCode::kDeadlineExceeded);
  const ModelStats stats = StatsOf(*engine_, "images");
  EXPECT_EQ(stats.cache_hits + stats.cache_misses, 1u);
  EXPECT_EQ(stats.dropped[static_cast<size_t>(DropReason::kDeadline)], 1u);
}

TEST_F(EngineTest, AModelOfWhichNoImageFitsTheQueueIsNotServed) {
  QueueOptions queue;
  queue.max_bytes = 11;
  Start({Spec("images", queue)});
  EXPECT_THAT(FailureOf("images"), HasSubstr("queue.max_bytes is 11, less than the 12 bytes"));
}

TEST_F(EngineTest, RefusesARequestWhosePixelsWouldFillTheQueue) {
  QueueOptions queue;
  queue.max_bytes = 1000;
  Start({Spec("images", queue)});
  const std::string file = testing::Png(1, 1, {1, 1, 1});
  const auto refused = Send(Images(std::vector<absl::string_view>(100, file))).get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.status().message(), HasSubstr("split it"));
}

TEST_F(EngineTest, EqualImagesInFlightAreComputedOnce) {
  Start({Spec("images")});
  HoldPasses();
  const std::string file = testing::Png(1, 1, {1, 1, 1});
  auto first = Send(Images({file}));
  gate_.WaitForArrivals(1);
  // Another file of the same pixels.
  const std::string larger = testing::Png(3, 3, {1, 1, 1});
  auto second = Send(Images({larger}));
  while (StatsOf(*engine_, "images").queue_inputs[0] < 1) std::this_thread::yield();
  gate_.Open();
  EXPECT_THAT(first.get()->row(0), ElementsAre(5, 12));
  EXPECT_THAT(second.get()->row(0), ElementsAre(5, 12));
  EXPECT_EQ(StatsOf(*engine_, "images").coalesced_inputs, 1u);
}

TEST_F(EngineTest, KeepsExactResultsOfImages) {
  QueueOptions queue;
  queue.result_cache_bytes = 1 << 20;
  Start({Spec("images", queue)});
  const std::string file = testing::Png(1, 1, {7, 7, 7});
  const std::string other = testing::Png(1, 1, {7, 7, 8});
  for (const std::string& each : {file, other, file}) {
    ASSERT_TRUE(Send(Images({each})).get().ok());
  }
  const ModelStats stats = StatsOf(*engine_, "images");
  EXPECT_EQ(stats.cache_hits, 1u);
  EXPECT_EQ(stats.cache_misses, 2u);
}

TEST_F(EngineTest, CountsWhatImagesWeigh) {
  Start({Spec("images")});
  const std::string file = testing::Png(20, 30, {1, 1, 1});
  ASSERT_TRUE(Send(Images({file, "no image"})).get().ok());
  const ModelStats stats = StatsOf(*engine_, "images");
  EXPECT_EQ(Count(stats, Stage::kDecodeImage), 2u);
  EXPECT_EQ(stats.image_bytes.sum, static_cast<double>(file.size() + 8));
  EXPECT_EQ(stats.image_pixels.sum, 600);
  EXPECT_EQ(Total(stats.image_pixels), 1u) << "of what is no image nobody knows";
}

TEST_F(EngineTest, CountsWhyImagesAreRefused) {
  Start({Spec("images")});
  const std::string file = testing::Png(2, 2, {1, 1, 1});
  const std::string damaged = file.substr(0, file.size() - 20);
  // The size follows the signature, a length and "IHDR".
  std::string large = file;
  large.replace(16, 8, testing::PngNumber(60'000) + testing::PngNumber(60'000));
  large.replace(29, 4, testing::PngNumber(testing::PngCrc(large.substr(12, 17))));
  ASSERT_TRUE(Send(Images({file, "text", damaged, large, damaged})).get().ok());
  EXPECT_THAT(StatsOf(*engine_, "images").image_faults, ElementsAre(1, 1, 0, 2))
      << "too large, no image, of the wrong size, damaged";
}

TEST_F(EngineTest, CountsImagesOfAnotherSizeThanTheModelTakes) {
  Start({Spec("unresized")});
  const std::string small = testing::Png(2, 2, {1, 1, 1});
  const std::string wide = testing::Png(3, 2, {1, 1, 1});
  const auto response = Send(Images({small, wide})).get();
  ASSERT_TRUE(response.ok());
  EXPECT_TRUE(response->results[0].status.ok());
  EXPECT_THAT(response->results[1].status.message(), HasSubstr("this one has 3 x 2"));
  EXPECT_THAT(StatsOf(*engine_, "unresized").image_faults, ElementsAre(0, 0, 1, 0));
}

}  // namespace
}  // namespace contextpool::engine
