#include "clients/cli/bench/arrivals.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;

TEST(ArrivalTimes, ConstantGapsStartAtOnceAndEndBeforeTheSpan) {
  Random random(1);
  EXPECT_THAT(ArrivalTimes(ArrivalShape::kConstant, 4, 1s, random),
              ElementsAre(0ms, 250ms, 500ms, 750ms));
}

TEST(ArrivalTimes, ConstantGapsDoNotDrift) {
  Random random(1);
  const auto times = ArrivalTimes(ArrivalShape::kConstant, 3, 100001s, random);
  ASSERT_EQ(times.size(), 300003u);
  EXPECT_EQ(times[300000], 100000s);
}

// The calls in each of 2,000 seconds: their mean and variance are both the rate.
TEST(ArrivalTimes, PoissonCountsHaveTheMeanAndVarianceOfTheRate) {
  constexpr double kRate = 50;
  constexpr size_t kSeconds = 2000;
  for (const uint64_t seed : {1, 2, 3}) {
    Random random(seed);
    std::vector<double> counts(kSeconds);
    for (const Nanoseconds time :
         ArrivalTimes(ArrivalShape::kPoisson, kRate, std::chrono::seconds(kSeconds), random)) {
      ++counts[static_cast<size_t>(time / 1s)];
    }
    double mean = 0;
    for (const double count : counts) mean += count / kSeconds;
    double variance = 0;
    for (const double count : counts) variance += (count - mean) * (count - mean) / kSeconds;
    // Four standard errors: sqrt(50 / 2000) and 50 * sqrt(2 / 2000).
    EXPECT_NEAR(mean, kRate, 4 * 0.158) << seed;
    EXPECT_NEAR(variance, kRate, 4 * 1.58) << seed;
  }
}

TEST(ArrivalTimes, PoissonTimesAscendAndTheSeedDecidesThem) {
  Random first(5), again(5), other(6);
  const auto times = ArrivalTimes(ArrivalShape::kPoisson, 1000, 2s, first);
  EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
  EXPECT_LT(times.back(), 2s);
  EXPECT_EQ(times, ArrivalTimes(ArrivalShape::kPoisson, 1000, 2s, again));
  EXPECT_NE(times, ArrivalTimes(ArrivalShape::kPoisson, 1000, 2s, other));
}

}  // namespace
}  // namespace contextpool::cli::bench
