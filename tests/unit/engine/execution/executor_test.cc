#include "engine/execution/executor.h"

#include <chrono>
#include <stdexcept>
#include <thread>

#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_device.h"
#include "tests/support/fake_model.h"

namespace contextpool::engine {
namespace {

class BrokenSource final : public BatchSource {
 public:
  bool NextBatch(Batch&) override { throw std::runtime_error("the queue is broken"); }
  void Seal(Batch&) override {}
};

TEST(ExecutorTest, AFaultThatEndsItsThreadIsKnownAndForGood) {
  testing::FakeDevice device;
  testing::FakeClock clock;
  BrokenSource source;
  Executor executor(device, clock);
  executor.Start(source);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (executor.steps().Health(clock.Now()).healthy &&
         std::chrono::steady_clock::now() < give_up) {
    std::this_thread::yield();
  }
  const EngineHealth health = executor.steps().Health(clock.Now());
  EXPECT_FALSE(health.healthy);
  EXPECT_FALSE(health.can_recover);
  EXPECT_EQ(health.reason, "the executor's thread ended: the queue is broken");
}

// What a model queued before it threw must not be left for the next pass.
TEST(ExecutorTest, APassThatThrowsIsWaitedForAndLeavesNoWorkspace) {
  testing::FakeDevice device;
  testing::FakeClock clock;
  testing::FakeModel::Hooks hooks;
  hooks.forward = [](const PackedBatch&) -> absl::Status { throw std::runtime_error("a bug"); };
  ModelSpec spec;
  spec.name = "m";
  const testing::FakeModel model(spec, hooks);
  ModelCounters counters;
  Executor executor(device, clock);
  EXPECT_THROW(executor.AddModel(0, model, {16, 1}, nullptr, counters).IgnoreError(),
               std::runtime_error);
  EXPECT_EQ(device.synchronized, 1);
}

}  // namespace
}  // namespace contextpool::engine
