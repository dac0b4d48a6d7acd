#include "engine/batching/step_model.h"

#include <chrono>
#include <cmath>
#include <random>

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::microseconds;
using ::std::chrono::milliseconds;
using ::std::chrono::seconds;

constexpr TimePoint kBegin{std::chrono::hours(1)};

// 10 ms, and 1 ms per token.
Duration Linear(int64_t tokens) { return milliseconds(10 + tokens); }

double Milliseconds(Duration duration) { return Seconds(duration) * 1e3; }

TEST(StepModelTest, NothingIsPredictedBeforeTheFirstStep) {
  const StepModel model;
  EXPECT_FALSE(model.known());
  EXPECT_EQ(model.Predict(100), Duration::zero());
}

TEST(StepModelTest, OneStepTellsATimePerTokenAlone) {
  StepModel model;
  model.Observe(100, milliseconds(50));
  EXPECT_TRUE(model.known());
  EXPECT_EQ(model.fixed_ns(), 0);
  EXPECT_NEAR(Milliseconds(model.Predict(10)), 5, 1e-4);
}

TEST(StepModelTest, StepsOfDifferentSizesTellTheFixedPart) {
  StepModel model;
  for (const int64_t tokens : {20, 100, 50}) model.Observe(tokens, Linear(tokens));
  EXPECT_NEAR(model.fixed_ns(), 10e6, 1);
  EXPECT_NEAR(model.ns_per_token(), 1e6, 1);
  EXPECT_NEAR(Milliseconds(model.Predict(70)), 80, 1e-4);
}

TEST(StepModelTest, StepsOfOneSizeTellNoFixedPart) {
  StepModel model;
  for (int i = 0; i < 100; ++i) model.Observe(100, milliseconds(50 + i % 2));
  EXPECT_EQ(model.fixed_ns(), 0);
  EXPECT_NEAR(Milliseconds(model.Predict(100)), 50.5, 0.05);
}

TEST(StepModelTest, NeitherPartIsEverNegative) {
  StepModel shrinking;
  shrinking.Observe(10, milliseconds(20));
  shrinking.Observe(100, milliseconds(10));
  EXPECT_EQ(shrinking.fixed_ns(), 0);
  EXPECT_GT(shrinking.ns_per_token(), 0);
  StepModel steep;
  steep.Observe(10, milliseconds(1));
  steep.Observe(20, milliseconds(4));
  EXPECT_EQ(steep.fixed_ns(), 0);
  EXPECT_GT(steep.ns_per_token(), 0);
}

TEST(StepModelTest, NoiseIsAveraged) {
  StepModel model;
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    const int64_t tokens = 1 + static_cast<int64_t>(random() % 1000);
    model.Observe(tokens, Linear(tokens) + microseconds(random() % 2000) - milliseconds(1));
  }
  EXPECT_NEAR(Milliseconds(model.Predict(500)), 510, 1);
}

TEST(StepModelTest, HalfTheWeightIsGoneAfterFourteenSteps) {
  StepModel model;
  for (int i = 0; i < 500; ++i) model.Observe(100, milliseconds(100));
  for (int i = 0; i < 14; ++i) model.Observe(100, milliseconds(200));
  EXPECT_NEAR(Milliseconds(model.Predict(100)), 150, 2);
}

TEST(StepModelTest, OneHiccupCountsAsFourStepsAtMost) {
  StepModel hiccup;
  StepModel four;
  for (StepModel* model : {&hiccup, &four}) {
    for (int i = 0; i < 20; ++i) model->Observe(100, milliseconds(100));
  }
  hiccup.Observe(100, seconds(60));
  four.Observe(100, milliseconds(400));
  EXPECT_EQ(hiccup.Predict(100), four.Predict(100));
}

TEST(StepModelTest, StepsWithoutLengthTeachNothing) {
  StepModel model;
  model.Observe(0, milliseconds(1));
  model.Observe(10, Duration::zero());
  EXPECT_FALSE(model.known());
  model.Observe(10, milliseconds(10));
  model.Observe(10, Duration::zero());
  EXPECT_NEAR(Milliseconds(model.Predict(10)), 10, 1e-4);
}

TEST(StepModelTest, WhatIsLargerThanAStepTakesTheFixedPartOncePerStep) {
  StepModel model;
  for (const int64_t tokens : {20, 100, 50}) model.Observe(tokens, Linear(tokens));
  EXPECT_NEAR(Milliseconds(model.Predict(100, 100)), 110, 1e-4);
  EXPECT_NEAR(Milliseconds(model.Predict(101, 100)), 121, 1e-4);
  EXPECT_NEAR(Milliseconds(model.Predict(1000, 100)), 1100, 1e-4);
  EXPECT_NEAR(Milliseconds(model.Predict(0, 100)), 10, 1e-4);
}

TEST(ArrivalRateTest, NothingArrivesBeforeTheFirst) {
  const ArrivalRate rate(milliseconds(50));
  EXPECT_EQ(rate.PerSecond(kBegin), 0);
}

TEST(ArrivalRateTest, SteadyArrivalsTellTheirRate) {
  ArrivalRate rate(milliseconds(50));
  TimePoint now = kBegin;
  for (int i = 0; i < 1000; ++i) rate.Note(now += milliseconds(1), 3);
  EXPECT_NEAR(rate.PerSecond(now), 3000, 50);
}

TEST(ArrivalRateTest, WhatCameOneMemoryAgoCountsOneEth) {
  ArrivalRate rate(milliseconds(50));
  rate.Note(kBegin, 1);
  EXPECT_NEAR(rate.PerSecond(kBegin), 20, 1e-9);
  EXPECT_NEAR(rate.PerSecond(kBegin + milliseconds(50)), 20 / std::exp(1), 1e-9);
  rate.Note(kBegin + milliseconds(50), 1);
  EXPECT_NEAR(rate.PerSecond(kBegin + milliseconds(50)), 20 + 20 / std::exp(1), 1e-9);
}

TEST(ArrivalRateTest, ATimeBeforeTheLastArrivalCountsAsThen) {
  ArrivalRate rate(milliseconds(50));
  rate.Note(kBegin, 1);
  EXPECT_NEAR(rate.PerSecond(kBegin - milliseconds(50)), 20, 1e-9);
}

}  // namespace
}  // namespace contextpool::engine
