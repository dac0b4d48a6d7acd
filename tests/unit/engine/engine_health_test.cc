// How the engine notices that its device or its models do not answer any more.
#include <chrono>
#include <cstdint>
#include <functional>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/unit/engine/engine_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Duration kTick{1};
// Of the fake models' longest input.
constexpr int32_t kWarmUpLength = 16;

class EngineHealthTest : public EngineTest {
 protected:
  EngineHealthTest() { clock_ = &time_; }
  // What the engine waits for must not outlive the clock.
  ~EngineHealthTest() override {
    gate_.Open();
    engine_.reset();
  }

  void StartWithCanaries() {
    canary_interval_ = seconds(10);
    Start({Spec("m")});
  }

  // The next canary is sent, and its pass is or was held at the gate.
  void LetACanaryPass() {
    const int before = passes_;
    time_.Advance(seconds(10));
    gate_.WaitForArrivals(before + 1);
  }

  // Until so many canaries have been answered.
  void WaitForCanaries(uint64_t count) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (std::chrono::steady_clock::now() < give_up) {
      const auto counts = Model().canaries;
      if (std::accumulate(counts.begin(), counts.end(), uint64_t{0}) >= count) return;
      std::this_thread::yield();
    }
    FAIL() << "no canary was answered";
  }

  // The passes that models are loaded with stand at the gate, and no other.
  void HoldLoads() {
    gate_.Close();
    hooks_.forward = [this](const PackedBatch& batch) {
      if (batch.max_length == kWarmUpLength) gate_.Pass();
      return absl::OkStatus();
    };
  }

  // Until so many inputs of the first model wait in its queue.
  void WaitForQueued(int64_t inputs) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (std::chrono::steady_clock::now() < give_up) {
      const auto waiting = Model().queue_inputs;
      if (std::accumulate(waiting.begin(), waiting.end(), int64_t{0}) == inputs) return;
      std::this_thread::yield();
    }
    FAIL() << "the queue did not come to this";
  }

  void CountPasses(std::function<absl::Status()> then) {
    hooks_.forward = [this, then = std::move(then)](const PackedBatch&) {
      ++passes_;
      gate_.Pass();
      return then();
    };
  }

  ModelStats Model() { return engine_->Snapshot().models[0]; }

  testing::FakeClock time_;
};

TEST_F(EngineHealthTest, AStuckStepIsUnhealthyFromItsLimitOnUntilItEnds) {
  Start({Spec("m")});
  HoldPasses();
  auto stuck = Send(Texts({"a"}));
  gate_.WaitForArrivals(1);
  auto next = Send(Texts({"b"}));
  time_.Advance(seconds(5) - kTick);
  EXPECT_TRUE(engine_->Health().healthy);
  time_.Advance(kTick);
  EXPECT_FALSE(engine_->Health().healthy);
  EXPECT_TRUE(engine_->Health().can_recover);
  EXPECT_EQ(engine_->Snapshot().devices[0].step_seconds, 5);
  gate_.Open();
  EXPECT_TRUE(stuck.get().ok());
  EXPECT_TRUE(next.get().ok()) << "what was queued is computed after all";
  EXPECT_TRUE(engine_->Health().healthy);
}

TEST_F(EngineHealthTest, ACallThatComesWhileTheExecutorIsStuckIsRefusedAndCounted) {
  Start({Spec("m")});
  HoldPasses();
  auto stuck = Send(Texts({"a"}));
  gate_.WaitForArrivals(1);
  time_.Advance(seconds(5));
  const auto refused = Send(Texts({"b"})).get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Model().rejected[static_cast<size_t>(RejectReason::kUnhealthy)], 1u);
  gate_.Open();
  EXPECT_TRUE(stuck.get().ok());
}

TEST_F(EngineHealthTest, ABatchThatWaitsForALoadIsNoStuckStep) {
  Start({Spec("m")});
  HoldLoads();
  auto load = Load(Spec("new"));
  gate_.WaitForArrivals(1);
  auto taken = Send(Texts({"a"}));
  WaitForQueued(0);
  for (int i = 0; i < 12; ++i) {
    time_.Advance(seconds(5));
    EXPECT_TRUE(engine_->Health().healthy) << engine_->Health().reason;
  }
  EXPECT_EQ(engine_->Snapshot().devices[0].step_seconds, 60) << "the load's";
  auto queued = Send(Texts({"b"}));
  gate_.Open();
  EXPECT_TRUE(taken.get().ok());
  EXPECT_TRUE(queued.get().ok());
  EXPECT_TRUE(load.get().ok());
}

TEST_F(EngineHealthTest, ACanaryThatExpiresBehindALoadSaysNothing) {
  StartWithCanaries();
  HoldLoads();
  auto load = Load(Spec("new"));
  gate_.WaitForArrivals(1);
  auto taken = Send(Texts({"a"}));
  WaitForQueued(0);
  time_.Advance(seconds(10));
  WaitForQueued(1);
  time_.Advance(Canaries::kAnswerLimit);
  WaitForCanaries(1);
  EXPECT_THAT(Model().canaries, ElementsAre(0, 0, 1));
  EXPECT_TRUE(engine_->Health().healthy) << engine_->Health().reason;
  gate_.Open();
  EXPECT_TRUE(taken.get().ok());
  EXPECT_TRUE(load.get().ok());
}

TEST_F(EngineHealthTest, ALoadThatHangsIsUnhealthyAtItsOwnLimit) {
  Start({Spec("m")});
  HoldLoads();
  auto load = Load(Spec("new"));
  gate_.WaitForArrivals(1);
  time_.Advance(StepWatch::kLoadLimit - kTick);
  EXPECT_TRUE(engine_->Health().healthy);
  time_.Advance(kTick);
  EXPECT_FALSE(engine_->Health().healthy);
  EXPECT_TRUE(engine_->Health().can_recover);
  EXPECT_THAT(engine_->Health().reason, HasSubstr("the pass of a load"));
  gate_.Open();
  EXPECT_TRUE(load.get().ok());
  EXPECT_TRUE(engine_->Health().healthy);
}

TEST_F(EngineHealthTest, AnExceptionInAStepAnswersItsBatchAndTheNextOneIsComputed) {
  Start({Spec("m")});
  hooks_.forward = [](const PackedBatch&) -> absl::Status {
    throw std::runtime_error("a bug of the model");
  };
  const auto failed = Send(Texts({"a"})).get();
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(failed.status().message()), HasSubstr("a bug of the model"));
  hooks_.forward = [](const PackedBatch&) -> absl::Status { throw std::bad_alloc(); };
  const auto no_memory = Send(Texts({"a"})).get();
  EXPECT_EQ(no_memory.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(no_memory.status().message()), HasSubstr("not enough memory"));
  hooks_.forward = nullptr;
  EXPECT_TRUE(Send(Texts({"a"})).get().ok());
  EXPECT_TRUE(engine_->Health().healthy);
}

TEST_F(EngineHealthTest, AnIdleModelIsAskedOnTheRealPath) {
  StartWithCanaries();
  std::vector<int32_t> ids;
  hooks_.forward = [&](const PackedBatch& batch) {
    ids.assign(batch.token_ids.begin(), batch.token_ids.end());
    gate_.Pass();
    return absl::OkStatus();
  };
  time_.Advance(seconds(10));
  gate_.WaitForArrivals(1);
  WaitForCanaries(1);
  EXPECT_THAT(ids, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(Model().canaries, ElementsAre(1, 0, 0));
  EXPECT_TRUE(engine_->Health().healthy);
}

TEST_F(EngineHealthTest, AnIdleModelThatReadsImagesIsAskedWithAnImage) {
  canary_interval_ = seconds(10);
  Start({Spec("images")});
  size_t pixels = 0;
  hooks_.forward = [&](const PackedBatch& batch) {
    pixels = batch.pixels.size();
    gate_.Pass();
    return absl::OkStatus();
  };
  time_.Advance(seconds(10));
  gate_.WaitForArrivals(1);
  WaitForCanaries(1);
  EXPECT_EQ(pixels, 12u);
  EXPECT_TRUE(engine_->Health().healthy);
}

TEST_F(EngineHealthTest, AModelThatTakesImagesOfItsOwnSizeOnlyIsNotAsked) {
  canary_interval_ = seconds(10);
  Start({Spec("m"), Spec("unresized")});
  const auto canaries = [this](size_t model) {
    const Stats stats = engine_->Snapshot();
    const auto& counts = stats.models[model].canaries;
    return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  };
  ASSERT_EQ(engine_->Snapshot().models[1].info->name, "unresized");
  for (uint64_t round = 1; round <= 4; ++round) {
    time_.Advance(seconds(10));
    while (canaries(0) < round) std::this_thread::yield();
  }
  EXPECT_EQ(canaries(1), 0u);
  EXPECT_TRUE(engine_->Health().healthy);
}

TEST_F(EngineHealthTest, CanariesAreNotCountedAsTraffic) {
  StartWithCanaries();
  HoldPasses();
  LetACanaryPass();
  EXPECT_EQ(engine_->Snapshot().requests_in_flight, 0);
  gate_.Open();
  WaitForCanaries(1);
  const ModelStats stats = Model();
  EXPECT_EQ(Total(stats.batch_inputs), 0u);
  EXPECT_EQ(Total(stats.batch_tokens), 0u);
  EXPECT_EQ(Total(stats.input_tokens), 0u);
  for (const HistogramSnapshot& stage : stats.stage_seconds) EXPECT_EQ(Total(stage), 0u);
}

TEST_F(EngineHealthTest, CanariesAreComputedAlthoughResultsAreCached) {
  QueueOptions queue;
  queue.result_cache_bytes = 1 << 20;
  canary_interval_ = seconds(10);
  Start({Spec("m", queue)});
  CountPasses(absl::OkStatus);
  for (uint64_t sent = 1; sent <= 2; ++sent) {
    LetACanaryPass();
    WaitForCanaries(sent);
  }
  EXPECT_EQ(passes_, 2);
  EXPECT_EQ(Model().cache_hits + Model().cache_misses, 0u);
}

TEST_F(EngineHealthTest, ADeviceThatFailsIsUnhealthyUntilItComputesAgain) {
  StartWithCanaries();
  absl::Status outcome = absl::InternalError("the device is hot");
  CountPasses([&outcome] { return outcome; });
  LetACanaryPass();
  WaitForCanaries(1);
  EXPECT_FALSE(engine_->Health().healthy);
  EXPECT_THAT(engine_->Health().reason, HasSubstr("the device is hot"));
  outcome = absl::OkStatus();
  LetACanaryPass();
  WaitForCanaries(2);
  EXPECT_TRUE(engine_->Health().healthy);
}

TEST_F(EngineHealthTest, ADeviceThatKeepsFailingCannotRecover) {
  StartWithCanaries();
  CountPasses([] { return absl::InternalError("the device is hot"); });
  for (uint64_t sent = 1; sent <= Canaries::kMostFailures; ++sent) {
    EXPECT_TRUE(engine_->Health().can_recover);
    LetACanaryPass();
    WaitForCanaries(sent);
  }
  EXPECT_FALSE(engine_->Health().can_recover);
}

TEST_F(EngineHealthTest, ACanaryOfValuesThatAreNotFiniteIsUnhealthy) {
  StartWithCanaries();
  hooks_.nan = true;
  time_.Advance(seconds(10));
  WaitForCanaries(1);
  EXPECT_THAT(Model().canaries, ElementsAre(0, 1, 0));
  EXPECT_THAT(engine_->Health().reason, HasSubstr("not finite"));
}

TEST_F(EngineHealthTest, AModelWhoseWarmUpIsNotFiniteDoesNotServe) {
  hooks_.nan = true;
  Start({Spec("m")});
  EXPECT_THAT(FailureOf("m"), HasSubstr("not finite"));
}

}  // namespace
}  // namespace contextpool::engine
