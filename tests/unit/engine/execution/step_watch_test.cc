#include "engine/execution/step_watch.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::milliseconds;
using ::std::chrono::seconds;
using ::testing::HasSubstr;

constexpr Duration kTick{1};
constexpr TimePoint kBegin{std::chrono::hours(1)};

TEST(StepWatchTest, AnIdleExecutorIsHealthy) {
  StepWatch watch;
  EXPECT_TRUE(watch.Health(kBegin).healthy);
  EXPECT_EQ(watch.Running(kBegin), std::nullopt);
}

TEST(StepWatchTest, AStepIsOverdueAtItsLimitAndNotBefore) {
  StepWatch watch;
  watch.Begin(kBegin, Duration::zero());
  EXPECT_TRUE(watch.Health(kBegin + seconds(5) - kTick).healthy);
  const EngineHealth health = watch.Health(kBegin + seconds(5));
  EXPECT_FALSE(health.healthy);
  EXPECT_TRUE(health.can_recover);
  EXPECT_EQ(health.since, kBegin + seconds(5));
  EXPECT_THAT(health.reason, HasSubstr("longer than 5 s"));
}

TEST(StepWatchTest, TenTimesThePredictedTimeIsAllowedIfThatIsMore) {
  StepWatch watch;
  watch.Begin(kBegin, milliseconds(600));
  EXPECT_TRUE(watch.Health(kBegin + seconds(6) - kTick).healthy);
  EXPECT_FALSE(watch.Health(kBegin + seconds(6)).healthy);
}

TEST(StepWatchTest, AStepThatWasPredictedToBeShortStillHasFiveSeconds) {
  StepWatch watch;
  watch.Begin(kBegin, milliseconds(1));
  EXPECT_TRUE(watch.Health(kBegin + seconds(5) - kTick).healthy);
}

TEST(StepWatchTest, APassOfALoadHasALimitOfItsOwn) {
  StepWatch watch;
  watch.BeginLoad(kBegin);
  EXPECT_TRUE(watch.Health(kBegin + StepWatch::kLoadLimit - kTick).healthy);
  const EngineHealth health = watch.Health(kBegin + StepWatch::kLoadLimit);
  EXPECT_FALSE(health.healthy);
  EXPECT_TRUE(health.can_recover);
  EXPECT_THAT(health.reason, HasSubstr("the pass of a load"));
}

TEST(StepWatchTest, AStepThatEndsAfterAllMakesTheExecutorHealthyAgain) {
  StepWatch watch;
  watch.Begin(kBegin, Duration::zero());
  ASSERT_FALSE(watch.Health(kBegin + seconds(60)).healthy);
  watch.End();
  EXPECT_TRUE(watch.Health(kBegin + seconds(60)).healthy);
  EXPECT_EQ(watch.ended(), 1u);
}

TEST(StepWatchTest, EachStepHasATimeOfItsOwn) {
  StepWatch watch;
  watch.Begin(kBegin, Duration::zero());
  watch.End();
  watch.Begin(kBegin + seconds(4), Duration::zero());
  EXPECT_EQ(watch.Running(kBegin + seconds(7)), Duration(seconds(3)));
  EXPECT_TRUE(watch.Health(kBegin + seconds(7)).healthy);
}

TEST(StepWatchTest, WhatDiedCannotRecoverAndTheFirstReasonStays) {
  StepWatch watch;
  watch.Begin(kBegin, Duration::zero());
  watch.Die(kBegin + seconds(1), "no memory");
  watch.Die(kBegin + seconds(2), "the GPU is lost");
  const EngineHealth health = watch.Health(kBegin + seconds(1));
  EXPECT_FALSE(health.healthy);
  EXPECT_FALSE(health.can_recover);
  EXPECT_EQ(health.since, kBegin + seconds(1));
  EXPECT_EQ(health.reason, "no memory");
  EXPECT_EQ(watch.Running(kBegin + seconds(3)), std::nullopt);
}

}  // namespace
}  // namespace contextpool::engine
