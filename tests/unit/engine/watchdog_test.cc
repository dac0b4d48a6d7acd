#include "engine/watchdog.h"

#include <memory>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/unit/engine/gate.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class WatchdogTest : public ::testing::Test {
 protected:
  // Sends canaries to one model, which fails them.
  Canaries::Parts FailingModel() {
    auto info = std::make_shared<ModelInfo>();
    info->name = "m";
    info->max_tokens = 16;
    auto counters = std::make_shared<ModelCounters>();
    counters->last_computed = clock_.Now();
    return {[model = CanaryModel{std::move(info), std::move(counters), &steps_}] {
              return std::vector<CanaryModel>{model};
            },
            [this](Request, Engine::Callback done) {
              done(absl::InternalError("the device is hot"));
              asked_.Pass();
            }};
  }

  testing::FakeClock clock_;
  StepWatch steps_;
  Gate asked_;
};

TEST_F(WatchdogTest, SendsCanariesFromItsOwnThreadAsTimePasses) {
  Watchdog watchdog(seconds(10), {{"cpu", steps_}}, clock_, FailingModel());
  watchdog.Start();
  EXPECT_TRUE(watchdog.Health().healthy);
  for (int asked = 1; asked <= Canaries::kMostFailures; ++asked) {
    clock_.Advance(seconds(10));
    asked_.WaitForArrivals(asked);
  }
  EXPECT_FALSE(watchdog.Health().can_recover);
  watchdog.Stop();
}

TEST_F(WatchdogTest, WithoutAnIntervalOnlyStepsAreJudged) {
  Watchdog watchdog(Duration::zero(), {{"cpu", steps_}}, clock_, FailingModel());
  watchdog.Start();
  steps_.Begin(clock_.Now(), Duration::zero());
  clock_.Advance(seconds(5));
  EXPECT_FALSE(watchdog.Health().healthy);
  steps_.End();
  EXPECT_TRUE(watchdog.Health().healthy);
}

TEST_F(WatchdogTest, IsUnhealthySinceTheFirstFaultForTheGraverReason) {
  Watchdog watchdog(seconds(10), {{"cpu", steps_}}, clock_, FailingModel());
  watchdog.Start();
  clock_.Advance(seconds(10));
  asked_.WaitForArrivals(1);
  const TimePoint first = clock_.Now();
  clock_.Advance(seconds(1));
  steps_.Die(clock_.Now(), "no memory");
  EXPECT_EQ(watchdog.Health().since, first);
  EXPECT_FALSE(watchdog.Health().can_recover);
  EXPECT_THAT(watchdog.Health().reason, AllOf(StartsWith("device cpu: "), HasSubstr("no memory")));
}

}  // namespace
}  // namespace contextpool::engine
