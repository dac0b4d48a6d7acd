#include "clients/cli/bench/find_rate.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;

// A server that holds the objective up to a rate, behind a client that can offer so much.
struct Simulation {
  double capacity_per_s;
  double client_per_s = 1e9;
  std::vector<double> probes = {};

  FoundRate Search(double start_per_s) {
    return FindRate(start_per_s, [&](double rate) {
      probes.push_back(rate);
      if (rate > client_per_s) return ProbeOutcome::kNotOffered;
      return rate <= capacity_per_s ? ProbeOutcome::kHolds : ProbeOutcome::kFails;
    });
  }
};

TEST(FindRate, EndsWithin5PercentOfWhatTheServerHolds) {
  for (const double capacity : {1.0, 7.3, 212.0, 4999.0, 50000.0}) {
    for (const double start : {0.5, 20.0, 900.0}) {
      Simulation server{capacity};
      const FoundRate found = server.Search(start);
      // Ten halvings do not reach from 900 to 0.5.
      if (start / capacity > 1000) continue;
      ASSERT_TRUE(found.held_per_s && found.failed_per_s) << capacity << " from " << start;
      EXPECT_LE(*found.held_per_s, capacity);
      EXPECT_GT(*found.failed_per_s, capacity);
      EXPECT_LE(*found.failed_per_s, 1.05 * *found.held_per_s);
      EXPECT_FALSE(found.client_limited);
      EXPECT_LE(server.probes.size(), 30u);
    }
  }
}

TEST(FindRate, GrowsByDoublingAndThenHalvesTheGap) {
  Simulation server{450};
  server.Search(100);
  EXPECT_THAT(server.probes, testing::ElementsAre(100, 200, 400, 800, 566, 476, 436, 456));
}

TEST(FindRate, SaysWhereTheClientWasTheLimit) {
  Simulation server{.capacity_per_s = 5000, .client_per_s = 300};
  const FoundRate found = server.Search(100);
  EXPECT_TRUE(found.client_limited);
  EXPECT_LE(*found.held_per_s, 300);
  // A client that fails far above what the server holds bounds nothing.
  Simulation slow{.capacity_per_s = 250, .client_per_s = 300};
  EXPECT_FALSE(slow.Search(200).client_limited);
}

TEST(FindRate, FindsNothingWhereNoRateHolds) {
  Simulation server{0};
  const FoundRate found = server.Search(100);
  EXPECT_FALSE(found.held_per_s.has_value());
  // Down to the lowest rate whose probe has a 99th percentile in five minutes.
  EXPECT_EQ(server.probes.size(), 9u);
  EXPECT_DOUBLE_EQ(*found.failed_per_s, 0.391);
}

TEST(FindRate, ARateThatTheClientDidNotOfferIsTriedAgain) {
  int stalls = 2;
  std::vector<double> probes;
  const auto probe = [&](double rate) {
    probes.push_back(rate);
    if (rate == 200 && stalls-- > 0) return ProbeOutcome::kNotOffered;
    return rate < 300 ? ProbeOutcome::kHolds : ProbeOutcome::kFails;
  };
  const FoundRate found = FindRate(100, probe);
  EXPECT_THAT(std::vector(probes.begin(), probes.begin() + 5),
              testing::ElementsAre(100, 200, 200, 200, 400));
  EXPECT_FALSE(found.client_limited);
  stalls = 3;
  EXPECT_LT(*FindRate(100, probe).failed_per_s, 300);
}

TEST(FindRate, StopsAtTheHighestRateThatCanBeOffered) {
  Simulation server{1e9};
  const FoundRate found = server.Search(300000);
  EXPECT_EQ(found.held_per_s, 600000);
  EXPECT_FALSE(found.failed_per_s.has_value());
}

TEST(FindRate, AnInterruptionEndsTheSearchWithWhatHeld) {
  int probes = 0;
  const FoundRate found = FindRate(100, [&](double) {
    return ++probes < 3 ? ProbeOutcome::kHolds : ProbeOutcome::kInterrupted;
  });
  EXPECT_EQ(probes, 3);
  EXPECT_TRUE(found.interrupted);
  EXPECT_EQ(found.held_per_s, 200);
}

PointResult ResultOf(int ok_calls, Nanoseconds latency, int refused) {
  PointResult result;
  Tally& tally = result.kinds.emplace_back();
  tally.calls = ok_calls + refused;
  for (int i = 0; i < ok_calls; ++i) tally.ok.Add(latency);
  for (int i = 0; i < refused; ++i) tally.not_ok.Add(1us);
  return result;
}

TEST(Judge, HoldsThe99thPercentileOfAllCallsToTheObjective) {
  const Objective objective{20ms, 0.05};
  EXPECT_EQ(Judge(ResultOf(1000, 10ms, 0), objective), ProbeOutcome::kHolds);
  EXPECT_EQ(Judge(ResultOf(1000, 30ms, 0), objective), ProbeOutcome::kFails);
  // A refusal is quick, and yet no answer: with 2% of them there is no 99th percentile.
  EXPECT_EQ(Judge(ResultOf(995, 10ms, 5), objective), ProbeOutcome::kHolds);
  EXPECT_EQ(Judge(ResultOf(980, 10ms, 20), objective), ProbeOutcome::kFails);
}

TEST(Judge, AllowsNoMoreErrorsThanTheObjective) {
  EXPECT_EQ(Judge(ResultOf(999, 10ms, 1), {20ms, 0.001}), ProbeOutcome::kHolds);
  EXPECT_EQ(Judge(ResultOf(998, 10ms, 2), {20ms, 0.001}), ProbeOutcome::kFails);
}

TEST(Judge, RepliesWithFailedInputsAreNotHeld) {
  PointResult result = ResultOf(1000, 10ms, 0);
  result.kinds[0].partial_calls = 1;
  EXPECT_EQ(Judge(result, {20ms, 0.001}), ProbeOutcome::kHolds);
  result.kinds[0].partial_calls = 2;
  EXPECT_EQ(Judge(result, {20ms, 0.001}), ProbeOutcome::kFails);
  // However many errors are allowed, 99% must be whole.
  result.kinds[0].partial_calls = 10;
  EXPECT_EQ(Judge(result, {20ms, 0.5}), ProbeOutcome::kHolds);
  result.kinds[0].partial_calls = 11;
  EXPECT_EQ(Judge(result, {20ms, 0.5}), ProbeOutcome::kFails);
}

TEST(Judge, WhatWasNotOfferedIsNotHeld) {
  PointResult result = ResultOf(1000, 10ms, 0);
  result.not_offered = "late";
  EXPECT_EQ(Judge(result, {20ms, 0.1}), ProbeOutcome::kNotOffered);
  result.interrupted = true;
  EXPECT_EQ(Judge(result, {20ms, 0.1}), ProbeOutcome::kInterrupted);
}

TEST(Judge, WhatWasGivenUpIsNotHeld) {
  PointResult result = ResultOf(1000, 10ms, 0);
  result.lost = "slow";
  EXPECT_EQ(Judge(result, {20ms, 0.1}), ProbeOutcome::kFails);
}

TEST(WhyHopeless, NoRateHoldsWhatOneCallerDoesNotGet) {
  const Objective objective{20ms, 0.001};
  EXPECT_EQ(WhyHopeless(ResultOf(100, 20ms, 0), objective), "");
  EXPECT_THAT(WhyHopeless(ResultOf(100, 30ms, 0), objective), testing::HasSubstr("took 30"));
  EXPECT_THAT(WhyHopeless(ResultOf(40, 10ms, 60), objective), testing::HasSubstr("was OK"));
  // No call began within p99 of another: each took longer.
  EXPECT_NE(WhyHopeless(ResultOf(0, 0ms, 0), objective), "");
  PointResult interrupted = ResultOf(0, 0ms, 0);
  interrupted.interrupted = true;
  EXPECT_EQ(WhyHopeless(interrupted, objective), "");
}

TEST(ProbeDuration, HoldsAThousandCallsButEndsAfterFiveMinutes) {
  EXPECT_EQ(ProbeDuration(10s, 1), 5min);
  EXPECT_EQ(ProbeDuration(600s, 1), 600s);
  EXPECT_EQ(ProbeDuration(10s, 500), 10s);
  EXPECT_EQ(ProbeDuration(10s, 20), 50s);
}

}  // namespace
}  // namespace contextpool::cli::bench
