#include "engine/execution/context_pool_readout.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;

constexpr float kPassed = -std::numeric_limits<float>::infinity();

// Two layers over a sequence of one token and one of two, whose first is passed through.
const std::vector<float> kChosen = {
    -1, kPassed, 2,     // log2 of the weights
    4,  0,       0.5f,  // support sizes
    0,  kPassed, -100,  //
    6,  0,       8,     //
};

TEST(CopyExplanationTest, TakesOneSequenceOutOfEveryLayer) {
  std::vector<float> target(8, -1);
  CopyExplanation(kChosen, 3, 1, target);
  EXPECT_THAT(target, ElementsAre(0, 4, 0, 0.5f, 0, std::exp2(-100.0f), 0, 8));
  std::vector<float> first(4, -1);
  CopyExplanation(kChosen, 3, 0, first);
  EXPECT_THAT(first, ElementsAre(0.5f, 4, 1, 6));
}

class ObserveTest : public ::testing::Test {
 protected:
  ObserveTest() {
    for (int layer = 0; layer < 2; ++layer) {
      counters_.support_size.emplace_back(Histogram::SupportSizeBounds());
    }
  }
  static uint64_t Total(const Histogram& histogram) {
    const std::vector<uint64_t> counts = histogram.Snapshot().counts;
    return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  }
  ContextPoolCounters counters_;
};

TEST_F(ObserveTest, CountsThePooledTokensOfEachLayer) {
  Observe(kChosen, {.computed = 1, .skipped = 3}, counters_);
  Observe(kChosen, {.computed = 2, .skipped = 2}, counters_);
  EXPECT_EQ(Total(counters_.support_size[0]), 4u);
  EXPECT_EQ(counters_.support_size[0].Snapshot().sum, 2 * 4.5);
  EXPECT_EQ(Total(counters_.support_size[1]), 4u);
  EXPECT_EQ(counters_.support_size[1].Snapshot().sum, 2 * 14);
  EXPECT_EQ(counters_.computed_tiles, 3u);
  EXPECT_EQ(counters_.skipped_tiles, 5u);
  EXPECT_EQ(counters_.skipped_tiles_ratio, 0.5) << "of the last sample";
}

TEST_F(ObserveTest, SizesThatAreNotFiniteDoNotSpoilTheSum) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinite = std::numeric_limits<float>::infinity();
  const std::vector<float> chosen = {0, 0, nan, 1, infinite, 2, 0, 0, 0, 1, nan, 3};
  Observe(chosen, {}, counters_);
  EXPECT_EQ(Total(counters_.support_size[0]), 1u);
  EXPECT_EQ(counters_.support_size[0].Snapshot().sum, 1);
  EXPECT_EQ(counters_.support_size[1].Snapshot().sum, 4);
  EXPECT_EQ(counters_.skipped_tiles_ratio, 0) << "no tile, no ratio";
}

TEST(SupportSizeBoundsTest, ReachFromAHundredthOfATokenToAThousand) {
  const std::vector<double>& bounds = Histogram::SupportSizeBounds();
  EXPECT_DOUBLE_EQ(bounds.front(), 0.01);
  EXPECT_GE(bounds.back(), 1000);
  EXPECT_LT(bounds.size(), 48u);
}

}  // namespace
}  // namespace contextpool::engine
