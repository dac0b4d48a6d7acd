#include "clients/cli/bench/call_kinds.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;

TEST(CallKinds, WithoutAMixAllCallsAreAlike) {
  const auto kinds = CallKinds({});
  ASSERT_EQ(kinds.size(), 1u);
  EXPECT_FALSE(kinds[0].bulk);
  EXPECT_FALSE(kinds[0].deadline.has_value());
  EXPECT_EQ(kinds[0].share, 1);
}

TEST(CallKinds, EveryClassComesWithEveryDeadline) {
  LoadOptions options;
  options.bulk_share = 0.25;
  options.deadlines = {{50ms, 0.5}, {std::nullopt, 0.5}};
  const auto kinds = CallKinds(options);
  ASSERT_EQ(kinds.size(), 4u);
  EXPECT_EQ(kinds[0].share, 0.375);
  EXPECT_EQ(kinds[0].deadline, 50ms);
  EXPECT_TRUE(kinds[3].bulk);
  EXPECT_EQ(kinds[3].share, 0.125);
  EXPECT_EQ(kinds[3].deadline, std::nullopt);
}

TEST(CallKinds, AShareOf0OrAllLeavesTheOtherOut) {
  LoadOptions options;
  options.bulk_share = 1;
  options.deadlines = {{50ms, 0}, {100ms, 1}};
  const auto kinds = CallKinds(options);
  ASSERT_EQ(kinds.size(), 1u);
  EXPECT_TRUE(kinds[0].bulk);
  EXPECT_EQ(kinds[0].deadline, 100ms);
}

TEST(CallKinds, AreDrawnByTheirShares) {
  LoadOptions options;
  options.bulk_share = 0.3;
  options.deadlines = {{50ms, 0.8}, {100ms, 0.2}};
  const auto kinds = CallKinds(options);
  Random random(11);
  constexpr int kDraws = 100000;
  std::vector<int> counts(kinds.size());
  for (int i = 0; i < kDraws; ++i) ++counts[DrawKind(kinds, random)];
  for (size_t i = 0; i < kinds.size(); ++i) {
    // Four standard errors of a share: at most 4 * 0.5 / sqrt(draws).
    EXPECT_NEAR(counts[i] / double{kDraws}, kinds[i].share, 0.0064) << i;
  }
}

}  // namespace
}  // namespace contextpool::cli::bench
