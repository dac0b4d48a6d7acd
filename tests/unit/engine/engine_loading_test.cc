// What becomes of models that load and of those that do not.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/engine_fixture.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(EngineTest, AModelIsLoadedKnowingWhatItsTokeniserPutsFirst) {
  Start({Spec("model")});
  EXPECT_EQ(prefix_tokens_, 2);
}

TEST_F(EngineTest, WhatIsWrongWithTheModelIsToldBeforeAMissingTokeniser) {
  tokenizer_error_ = absl::NotFoundError("tokenizer.json: is missing");
  Start({Spec("broken"), Spec("m")});
  EXPECT_EQ(FailureOf("broken"), "config.json: is broken");
  EXPECT_EQ(FailureOf("m"), "tokenizer.json: is missing");
}

TEST_F(EngineTest, ATokeniserThatCannotBeReadIsToldBesideWhatIsWrongWithTheModel) {
  tokenizer_error_ = absl::InvalidArgumentError("tokenizer.json: is broken");
  Start({Spec("broken"), Spec("m"), Spec("images")});
  EXPECT_EQ(FailureOf("broken"), "config.json: is broken; and tokenizer.json: is broken");
  EXPECT_EQ(FailureOf("m"), "tokenizer.json: is broken");
  EXPECT_EQ(FailureOf("images"), "") << "has no use for it";
}

TEST_F(EngineTest, BrokenModelIsReportedAndTheOthersServe) {
  Start({Spec("good"), Spec("broken")});
  const auto models = engine_->ListModels();
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].info->name, "broken");
  EXPECT_EQ(models[0].state, ModelState::kFailed);
  EXPECT_EQ(models[0].reason, "config.json: is broken");
  EXPECT_EQ(models[1].state, ModelState::kReady);
  EXPECT_TRUE(Send(Texts({"a"})).get().ok()) << "the only ready model needs no name";
  Request request = Texts({"a"});
  request.model = "broken";
  const auto refused = Send(std::move(request)).get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("config.json: is broken"));
}

TEST_F(EngineTest, BudgetBelowTheLongestInputIsAnErrorOfTheModel) {
  QueueOptions queue;
  queue.batch_token_budget = 15;
  Start({Spec("m", queue)});
  EXPECT_EQ(engine_->ListModels()[0].state, ModelState::kFailed);
  EXPECT_THAT(engine_->ListModels()[0].reason, HasSubstr("token_budget is 15"));
}

TEST_F(EngineTest, AQueueBelowTheLongestInputIsAnErrorOfTheModel) {
  QueueOptions queue;
  queue.max_tokens = 15;
  Start({Spec("m", queue)});
  EXPECT_THAT(FailureOf("m"), HasSubstr("queue.max_tokens is 15, less than the longest input"));
}

TEST_F(EngineTest, TheDefaultBudgetFitsTheQueue) {
  QueueOptions queue;
  queue.max_tokens = 17;
  Start({Spec("m", queue)});
  EXPECT_EQ(InfoOf("m").batch_token_budget, 17);
}

TEST_F(EngineTest, ExceptionWhileLoadingIsThatModelsErrorAlone) {
  Start({Spec("throws"), Spec("m")});
  EXPECT_EQ(engine_->ListModels()[1].state, ModelState::kFailed);
  EXPECT_THAT(engine_->ListModels()[1].reason, HasSubstr("not enough memory"));
  EXPECT_TRUE(Send(Texts({"x"})).get().ok());
}

TEST_F(EngineTest, ModelThatDoesNotFitLeavesTheOthersServing) {
  Start({Spec("m"), Spec("z large")});
  EXPECT_EQ(engine_->ListModels()[1].state, ModelState::kFailed);
  EXPECT_TRUE(Send(Texts({"x"})).get().ok());
}

TEST_F(EngineTest, DefaultBudgetHoldsTheLongestInput) {
  Start({Spec("long")});
  EXPECT_EQ(engine_->ListModels()[0].state, ModelState::kReady);
  EXPECT_EQ(engine_->ListModels()[0].info->batch_token_budget, 5000);
}

// Two sequences of the fake model, whose embedding is (length, sum of ids).
std::string GoldenBytes(float last_sum) {
  const std::vector<int32_t> ids = {5, 6, 7};
  const std::vector<int32_t> ends = {0, 1, 3};
  const auto integers = [](const std::vector<int32_t>& values) {
    return TestTensor{"I32",
                      {static_cast<int64_t>(values.size())},
                      {reinterpret_cast<const char*>(values.data()), values.size() * 4}};
  };
  return SafetensorsBytes({{"input_ids", integers(ids)},
                           {"cu_lengths", integers(ends)},
                           {"embedding", F32Tensor({2, 2}, {1, 5, 2, last_sum})},
                           {"logits", F32Tensor({2, 2}, {5, -5, 6, -6})}});
}

TEST_F(EngineTest, AModelThatComputesItsGoldenFileServesAndItsCountersStayAtZero) {
  TempDirectory directory;
  directory.Write("config.json", SmallConfig());
  directory.Write("golden.safetensors", absl::string_view(GoldenBytes(13)));
  hooks_.forward = [this](const PackedBatch&) {
    ++passes_;
    return absl::OkStatus();
  };
  ModelSpec spec = Spec("m");
  spec.directory = directory.path();
  Start({spec});
  ASSERT_EQ(engine_->ListModels()[0].state, ModelState::kReady) << engine_->ListModels()[0].reason;
  EXPECT_EQ(passes_, 3) << "to warm up, embeddings, logits";
  const Stats stats = engine_->Snapshot();
  EXPECT_EQ(stats.models[0].batch_inputs.sum, 0);
  EXPECT_EQ(stats.models[0].batch_tokens.sum, 0);
}

TEST_F(EngineTest, AModelThatComputesSomethingElseFailsAndTheOthersServe) {
  TempDirectory directory;
  directory.Write("config.json", SmallConfig());
  directory.Write("golden.safetensors", absl::string_view(GoldenBytes(13.5)));
  ModelSpec spec = Spec("m");
  spec.directory = directory.path();
  Start({spec, Spec("other")});
  EXPECT_EQ(engine_->ListModels()[0].state, ModelState::kFailed);
  EXPECT_THAT(engine_->ListModels()[0].reason,
              HasSubstr("golden.safetensors: sequence 1, dimension 1 of \"embedding\": expected "
                        "13.5, computed 13"));
  EXPECT_TRUE(Send(Texts({"a"})).get().ok());
}

TEST_F(EngineTest, AGoldenFileIsComputedInBatchesWithinTheLimits) {
  TempDirectory directory;
  directory.Write("config.json", SmallConfig());
  directory.Write("golden.safetensors", absl::string_view(GoldenBytes(13)));
  std::vector<int> sizes;
  hooks_.forward = [&](const PackedBatch& batch) {
    sizes.push_back(batch.sequences());
    return absl::OkStatus();
  };
  QueueOptions queue;
  queue.batch_max_inputs = 1;
  ModelSpec spec = Spec("m", queue);
  spec.directory = directory.path();
  Start({spec});
  EXPECT_EQ(engine_->ListModels()[0].state, ModelState::kReady) << engine_->ListModels()[0].reason;
  EXPECT_THAT(sizes, ElementsAre(1, 1, 1, 1, 1));
}

TEST_F(EngineTest, AFailedPassOfTheGoldenFileFailsTheModel) {
  TempDirectory directory;
  directory.Write("config.json", SmallConfig());
  directory.Write("golden.safetensors", absl::string_view(GoldenBytes(13)));
  hooks_.forward = [this](const PackedBatch&) {
    return ++passes_ == 2 ? absl::InternalError("the device is hot") : absl::OkStatus();
  };
  ModelSpec spec = Spec("m");
  spec.directory = directory.path();
  Start({spec});
  EXPECT_EQ(engine_->ListModels()[0].state, ModelState::kFailed);
  EXPECT_EQ(engine_->ListModels()[0].reason, "the device is hot");
}

}  // namespace
}  // namespace contextpool::engine
