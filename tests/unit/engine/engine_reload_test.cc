// Models that come, change and go while the engine serves.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/engine_fixture.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using ::testing::HasSubstr;

ModelSpec Version(const std::string& name, int64_t version, int64_t token_budget = 0) {
  ModelSpec spec = Spec(name);
  spec.version = version;
  spec.queue.batch_token_budget = token_budget;
  return spec;
}

// A request for a version of the model "m"; 0: the one that serves by default.
Request For(int64_t version) {
  Request request;
  request.model = "m";
  request.version = version;
  request.inputs.emplace_back(TextInput{"a"});
  return request;
}

class EngineReloadTest : public EngineTest {
 protected:
  ModelStatus StatusOf(int64_t version) {
    const auto status = engine_->GetModel("m", version);
    return status.ok() ? *status : ModelStatus();
  }

  // The token budget tells copies of one version apart.
  int32_t BudgetThatAnswers() {
    const auto response = Send(For(0)).get();
    return response.ok() ? response->model->batch_token_budget : -1;
  }

  // Passes of batches with so many tokens stand at the gate.
  void HoldPassesOf(int64_t tokens) {
    gate_.Close();
    hooks_.forward = [this, tokens](const PackedBatch& batch) {
      if (batch.total_tokens() == tokens) gate_.Pass();
      return absl::OkStatus();
    };
  }
};

TEST_F(EngineReloadTest, AModelThatIsAddedServesOnceItIsLoaded) {
  Start({Spec("other")});
  const auto loaded = Load(Version("m", 1)).get();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->info->name, "m");
  EXPECT_EQ(loaded->state, ModelState::kReady);
  EXPECT_TRUE(Send(For(0)).get().ok());
}

TEST_F(EngineReloadTest, AModelIsListedFromTheMomentItIsAskedFor) {
  Start({Spec("other")});
  Gate load;
  load.Close();
  before_load_ = [&](const ModelSpec&) {
    load.Pass();
    return absl::OkStatus();
  };
  auto loaded = Load(Version("m", 1));
  EXPECT_EQ(StatusOf(1).state, ModelState::kLoading);
  ASSERT_EQ(engine_->Snapshot().models.size(), 2u);
  EXPECT_EQ(Total(engine_->Snapshot().models[0].batch_inputs), 0);
  EXPECT_TRUE(Send(Texts({"a"})).get().ok())
      << "a model that is added does not turn away who needs no name";
  load.Open();
  EXPECT_TRUE(loaded.get().ok());
}

TEST_F(EngineReloadTest, AReloadTakesOverOnlyAfterItsWarmUp) {
  Start({Version("m", 1, 100)});
  HoldPassesOf(192);  // twelve of the longest inputs: the warm-up of a budget of 200
  auto reloaded = Load(Version("m", 1, 200));
  gate_.WaitForArrivals(1);
  EXPECT_EQ(StatusOf(1).state, ModelState::kReady);
  auto asked = Send(For(0));
  gate_.Open();
  EXPECT_EQ(asked.get()->model->batch_token_budget, 100);
  ASSERT_TRUE(reloaded.get().ok());
  EXPECT_EQ(BudgetThatAnswers(), 200);
}

TEST_F(EngineReloadTest, ACopyThatComputesSomethingElseThanItsGoldenFileLeavesTheOldOneServing) {
  Start({Version("m", 1, 100)});
  TempDirectory directory;
  directory.Write("config.json", SmallConfig());
  const TestTensor ids{"I32", {1}, std::string("\x05\0\0\0", 4)};
  const TestTensor ends{"I32", {2}, std::string("\0\0\0\0\x01\0\0\0", 8)};
  directory.Write(
      "golden.safetensors",
      absl::string_view(SafetensorsBytes(
          {{"input_ids", ids}, {"cu_lengths", ends}, {"embedding", F32Tensor({1, 2}, {1, 6})}})));
  ModelSpec spec = Version("m", 1, 200);
  spec.directory = directory.path();
  EXPECT_THAT(std::string(Load(spec).get().status().message()), HasSubstr("golden.safetensors"));
  EXPECT_EQ(StatusOf(1).state, ModelState::kReady);
  EXPECT_THAT(StatusOf(1).reason, HasSubstr("the copy loaded before still serves"));
  EXPECT_THAT(StatusOf(1).reason, HasSubstr("golden.safetensors"));
  EXPECT_EQ(BudgetThatAnswers(), 100);
  EXPECT_EQ(hooks_.models, 1);

  ASSERT_TRUE(Load(Version("m", 1, 200)).get().ok());
  EXPECT_EQ(StatusOf(1).reason, "") << "a good copy makes the failure a matter of the past";
}

TEST_F(EngineReloadTest, AnExceptionOrAFullDeviceWhileReloadingLeavesTheOldOneServing) {
  Start({Version("m", 1, 100)});
  before_load_ = [](const ModelSpec&) -> absl::Status { throw std::bad_alloc(); };
  EXPECT_EQ(Load(Version("m", 1)).get().status().code(), absl::StatusCode::kResourceExhausted);
  before_load_ = [](const ModelSpec&) -> absl::Status { throw std::runtime_error("odd"); };
  EXPECT_EQ(Load(Version("m", 1)).get().status().code(), absl::StatusCode::kInternal);
  before_load_ = nullptr;
  hooks_.forward = [](const PackedBatch& batch) {
    return batch.total_tokens() == 192 ? absl::InternalError("the device is hot")
                                       : absl::OkStatus();
  };
  EXPECT_FALSE(Load(Version("m", 1, 200)).get().ok());
  EXPECT_EQ(BudgetThatAnswers(), 100);
  EXPECT_EQ(hooks_.models, 1);
}

TEST_F(EngineReloadTest, WorkInFlightFinishesOnTheOldCopyWhoseMemoryGoesThen) {
  Start({Version("m", 1, 100)});
  HoldPassesOf(1);
  auto in_flight = Send(For(0));
  gate_.WaitForArrivals(1);
  auto queued = Send(For(1));
  // The warm-up needs the device, so the new copy can take over only when the pass has ended; the
  // request that is queued keeps the old copy all the same.
  auto reloaded = Load(Version("m", 1, 200));
  gate_.Open();
  ASSERT_TRUE(reloaded.get().ok());
  EXPECT_EQ(in_flight.get()->model->batch_token_budget, 100);
  EXPECT_EQ(queued.get()->model->batch_token_budget, 100);
  EXPECT_EQ(BudgetThatAnswers(), 200);
  ASSERT_TRUE(Load(Version("n", 1)).get().ok());  // the loader had time to free the old copy
  EXPECT_EQ(hooks_.models, 2);
}

TEST_F(EngineReloadTest, ARequestThatIsHeldWhileCopiesChangeKeepsItsCopyLoaded) {
  Start({Version("m", 1, 100)});
  std::promise<std::shared_ptr<const ModelInfo>> answered_by;
  std::promise<void> go_on;
  Request request = For(0);
  engine_->Infer(std::move(request), [&](absl::StatusOr<Response> response) {
    answered_by.set_value(response->model);
    go_on.get_future().wait();  // the call has not ended yet
  });
  answered_by.get_future().wait();
  std::atomic<int> destroyed{0};
  hooks_.destroyed = [&] { ++destroyed; };
  // Not waited for: its warm-up needs the executor, which stands in the answer.
  auto reloaded = Load(Version("m", 1, 200));
  EXPECT_EQ(destroyed, 0);
  go_on.set_value();
  ASSERT_TRUE(reloaded.get().ok());
  engine_.reset();
  EXPECT_EQ(destroyed, 2);
}

TEST_F(EngineReloadTest, ModelsAreFreedByTheThreadThatLoadsThem) {
  std::thread::id loader;
  std::vector<std::thread::id> destroyers;
  before_load_ = [&](const ModelSpec&) {
    loader = std::this_thread::get_id();
    return absl::OkStatus();
  };
  hooks_.destroyed = [&] { destroyers.push_back(std::this_thread::get_id()); };
  Start({Version("m", 1, 100)});
  HoldPassesOf(1);
  auto in_flight = Send(For(0));
  gate_.WaitForArrivals(1);
  auto unloaded = Unload("m");
  while (StatusOf(1).state != ModelState::kUnloading) std::this_thread::yield();
  gate_.Open();
  ASSERT_TRUE(unloaded.get().ok());
  ASSERT_EQ(destroyers.size(), 1u);
  EXPECT_EQ(destroyers[0], loader);
  hooks_.destroyed = nullptr;
}

TEST_F(EngineReloadTest, UnloadingFinishesAcceptedWorkAndRefusesNew) {
  Start({Version("m", 1), Spec("other")});
  HoldPassesOf(1);
  auto in_flight = Send(For(0));
  gate_.WaitForArrivals(1);
  auto unloaded = Unload("m");
  while (StatusOf(1).state != ModelState::kUnloading) std::this_thread::yield();
  const auto refused = Send(For(1)).get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("being unloaded"));
  EXPECT_EQ(hooks_.models, 2);
  EXPECT_EQ(Unload("m").get().code(), absl::StatusCode::kFailedPrecondition);
  gate_.Open();
  ASSERT_TRUE(unloaded.get().ok());
  EXPECT_TRUE(in_flight.get().ok());
  EXPECT_EQ(hooks_.models, 1);
  EXPECT_EQ(engine_->ListModels().size(), 1u);
  EXPECT_EQ(Send(For(0)).get().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Unload("m").get().code(), absl::StatusCode::kNotFound);
}

TEST_F(EngineReloadTest, AModelMayBeLoadedAgainWhileItIsUnloading) {
  Start({Version("m", 1, 100)});
  HoldPassesOf(1);
  auto in_flight = Send(For(0));
  gate_.WaitForArrivals(1);
  auto unloaded = Unload("m");
  auto loaded = Load(Version("m", 1, 200));
  gate_.Open();
  EXPECT_TRUE(unloaded.get().ok());
  EXPECT_TRUE(loaded.get().ok());
  EXPECT_TRUE(in_flight.get().ok());
  EXPECT_EQ(BudgetThatAnswers(), 200);
  EXPECT_EQ(hooks_.models, 1);
}

TEST_F(EngineReloadTest, TheHighestReadyVersionIsTheDefault) {
  Start({Version("m", 2)});
  ASSERT_TRUE(Load(Version("m", 10)).get().ok());
  EXPECT_EQ(Send(For(0)).get()->model->version, 10);
  EXPECT_EQ(Send(For(2)).get()->model->version, 2);
  before_load_ = [](const ModelSpec&) { return absl::InvalidArgumentError("config.json: bad"); };
  EXPECT_FALSE(Load(Version("m", 11)).get().ok());
  EXPECT_EQ(StatusOf(11).state, ModelState::kFailed);
  EXPECT_EQ(Send(For(0)).get()->model->version, 10) << "a version that failed does not stand";
  ASSERT_TRUE(Unload("m", 11).get().ok());
  EXPECT_EQ(engine_->ListModels().size(), 2u) << "one that failed can be unloaded too";
  ASSERT_TRUE(Unload("m", 10).get().ok());
  EXPECT_EQ(Send(For(0)).get()->model->version, 2) << "the next one takes its place";
}

TEST_F(EngineReloadTest, WhatAVersionCountedSurvivesReloadsAndUnloads) {
  Start({Version("m", 1), Version("m", 2)});
  for (int64_t version : {1, 2, 2}) EXPECT_TRUE(Send(For(version)).get().ok());
  ASSERT_TRUE(Load(Version("m", 2)).get().ok());
  EXPECT_TRUE(Send(For(2)).get().ok());
  EXPECT_EQ(Total(engine_->Snapshot().models[1].input_tokens), 3);

  ASSERT_TRUE(Unload("m", 1).get().ok());
  ASSERT_TRUE(Unload("m", 2).get().ok());
  const Stats stats = engine_->Snapshot();
  EXPECT_TRUE(stats.models.empty());
  ASSERT_EQ(stats.unloaded.size(), 1u);
  EXPECT_EQ(stats.unloaded[0].info->name, "m");
  EXPECT_EQ(Total(stats.unloaded[0].input_tokens), 4);
  EXPECT_EQ(Total(stats.unloaded[0].batch_inputs), 4);
}

TEST_F(EngineReloadTest, CountsOfContextPoolLayersAreKeptApartByTheirLayers) {
  Start({Version("pools", 1)});
  Request request = Texts({"ab"});
  EXPECT_TRUE(Send(std::move(request)).get().ok());
  ASSERT_TRUE(Load(Version("pools", 1)).get().ok());
  Stats stats = engine_->Snapshot();
  EXPECT_TRUE(stats.unloaded.empty()) << "the same layers: they go on counting";
  ASSERT_EQ(stats.models[0].context_pool.support_size.size(), 2u);
  EXPECT_EQ(Total(stats.models[0].context_pool.support_size[0]), 2);
}

TEST_F(EngineReloadTest, ManyReloadsUnderLoadLoseNoRequestAndKeepNoOldCopy) {
  Start({Version("m", 1)});
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0};
  std::atomic<int> answered{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      while (!stop) {
        ++(Send(For(0)).get().ok() ? answered : failed);
      }
    });
  }
  constexpr int kReloads = 100;
  for (int i = 0; i < kReloads; ++i) ASSERT_TRUE(Load(Version("m", 1, 100 + i)).get().ok());
  while (answered == 0) std::this_thread::yield();
  stop = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(BudgetThatAnswers(), 100 + kReloads - 1);
  ASSERT_TRUE(Load(Version("n", 1)).get().ok());
  EXPECT_EQ(hooks_.models, 2);
}

TEST_F(EngineReloadTest, TheWorkspaceShrinksWhenTheModelThatNeededItGoes) {
  Start({Version("m", 1)});
  const size_t small = device_->bytes_held();
  ModelSpec large = Version("m", 2);
  large.queue.batch_max_inputs *= 4;
  ASSERT_TRUE(Load(large).get().ok());
  EXPECT_GT(device_->bytes_held(), small);
  ASSERT_TRUE(Unload("m", 2).get().ok());
  EXPECT_EQ(device_->bytes_held(), small);
  EXPECT_TRUE(Send(For(0)).get().ok());
}

TEST_F(EngineReloadTest, DrainingRefusesWhatHasNotBegun) {
  Start({Version("m", 1)});
  Gate load;
  load.Close();
  before_load_ = [&](const ModelSpec&) {
    load.Pass();
    return absl::OkStatus();
  };
  auto running = Load(Version("m", 2));
  load.WaitForArrivals(1);
  auto waiting = Load(Version("m", 3));
  auto unload = Unload("m");
  engine_->Drain();
  EXPECT_EQ(waiting.get().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(unload.get().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Load(Version("m", 4)).get().status().code(), absl::StatusCode::kUnavailable);
  load.Open();
  EXPECT_TRUE(running.get().ok()) << "what has begun is finished";
  engine_.reset();
  EXPECT_EQ(hooks_.models, 0);
}

}  // namespace
}  // namespace contextpool::engine
