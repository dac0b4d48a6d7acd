#include "engine/execution/executor.h"

#include <chrono>
#include <stdexcept>
#include <thread>

#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_device.h"

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

}  // namespace
}  // namespace contextpool::engine
