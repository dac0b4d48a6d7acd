#include "clients/cli/bench/histogram.h"

#include <algorithm>
#include <cmath>

#include "clients/cli/bench/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;

// The slow way: sort, and take the value that `share` of all do not exceed.
Nanoseconds ExactPercentile(std::vector<Nanoseconds> values, double share) {
  std::sort(values.begin(), values.end());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto not_above = static_cast<double>(i + 1);
    if (not_above / static_cast<double>(values.size()) >= share - 1e-9) return values[i];
  }
  return values.back();
}

// From nanoseconds to minutes.
std::vector<Nanoseconds> RandomLatencies(size_t count, Random& random) {
  std::vector<Nanoseconds> values;
  for (size_t i = 0; i < count; ++i) {
    values.emplace_back(static_cast<int64_t>(std::exp(Uniform01(random) * std::log(2e11))));
  }
  return values;
}

TEST(LatencyHistogram, PercentilesAreAtMost08PercentAboveTheExactOnes) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const auto values = RandomLatencies(1 + random() % 2000, random);
    LatencyHistogram histogram;
    for (const Nanoseconds value : values) histogram.Add(value);
    for (const double share : {0.001, 0.07, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0}) {
      const Nanoseconds exact = ExactPercentile(values, share);
      const Nanoseconds found = histogram.Percentile(share);
      EXPECT_GE(found, exact) << share;
      EXPECT_LE(found, exact + exact / 128) << share;
    }
    EXPECT_EQ(histogram.max(), *std::max_element(values.begin(), values.end()));
  }
}

TEST(LatencyHistogram, SmallValuesAreExact) {
  LatencyHistogram histogram;
  for (int i = 1; i <= 200; ++i) histogram.Add(Nanoseconds(i));
  EXPECT_EQ(histogram.Percentile(0.5), 100ns);
  EXPECT_EQ(histogram.Percentile(0.99), 198ns);
  EXPECT_EQ(histogram.AtRank(1), 1ns);
  EXPECT_EQ(histogram.AtRank(200), 200ns);
}

TEST(LatencyHistogram, MergedIsTheSameAsAllInOne) {
  Random random(3);
  LatencyHistogram all, left, right;
  for (const Nanoseconds value : RandomLatencies(500, random)) {
    all.Add(value);
    (random() % 2 == 0 ? left : right).Add(value);
  }
  left.Merge(right);
  EXPECT_EQ(left.count(), 500u);
  EXPECT_EQ(left.max(), all.max());
  EXPECT_EQ(left.mean(), all.mean());
  for (uint64_t rank = 1; rank <= 500; ++rank) EXPECT_EQ(left.AtRank(rank), all.AtRank(rank));
}

TEST(LatencyHistogram, BucketsHoldEveryValueOnce) {
  LatencyHistogram histogram;
  for (const Nanoseconds value : {3ns, 3ns, 1000ns, 5000000ns}) histogram.Add(value);
  const auto buckets = histogram.Buckets();
  ASSERT_EQ(buckets.size(), 3u);
  EXPECT_EQ(buckets[0].upper, 3ns);
  EXPECT_EQ(buckets[0].count, 2u);
  EXPECT_EQ(buckets[1].count, 1u);
  EXPECT_GE(buckets[2].upper, 5ms);
}

TEST(LatencyHistogram, NothingIsZeroAndNegativeCountsAsZero) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Percentile(0.99), 0ns);
  EXPECT_EQ(histogram.mean(), 0ns);
  histogram.Add(-5ms);
  EXPECT_EQ(histogram.count(), 1u);
  EXPECT_EQ(histogram.max(), 0ns);
}

TEST(RankOf, IsTheNearestRank) {
  EXPECT_EQ(RankOf(0.5, 1), 1u);
  EXPECT_EQ(RankOf(0.99, 100), 99u);
  EXPECT_EQ(RankOf(0.99, 101), 100u);
  EXPECT_EQ(RankOf(0.07, 100), 7u);
  EXPECT_EQ(RankOf(1, 12345), 12345u);
}

}  // namespace
}  // namespace contextpool::cli::bench
