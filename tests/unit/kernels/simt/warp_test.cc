// Shuffles, votes and SyncWarp.

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>

#include "kernels/cuda/primitives.cuh"
#include "tests/unit/kernels/simt/schedules.h"

namespace contextpool::kernels::emulated {
namespace {

using simt::FaultKind;
using simt::LaunchOptions;
using simt::LaunchReport;

// What `of_lane` returns in each lane of one warp, on every schedule the same.
template <typename T>
std::array<T, 32> InEachLane(const std::function<T(uint32_t)>& of_lane) {
  std::array<T, 32> first = {};
  for (const LaunchOptions& options : simt::EverySchedule()) {
    std::array<T, 32> results = {};
    const LaunchReport report = simt::Run({.kernel = "warp", .block = {32}}, options,
                                          [&] { results[ThreadIdx().x] = of_lane(ThreadIdx().x); });
    EXPECT_TRUE(report.ok()) << options << report;
    if (options.schedule == simt::Schedule::kLockstep && options.seed == 0) first = results;
    EXPECT_EQ(results, first) << options;
  }
  return first;
}

TEST(WarpTest, ShufflesTakeTheLaneThatTheirNameSays) {
  const auto value = [](uint32_t lane) { return static_cast<int>(100 + lane); };
  const auto index = InEachLane<int>([&](uint32_t l) { return Shuffle(value(l), (l * 5) % 32); });
  const auto up = InEachLane<int>([&](uint32_t l) { return ShuffleUp(value(l), 3); });
  const auto down = InEachLane<int>([&](uint32_t l) { return ShuffleDown(value(l), 3); });
  const auto exclusive = InEachLane<int>([&](uint32_t l) { return ShuffleXor(value(l), 5); });
  for (uint32_t lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(index[lane], value(lane * 5 % 32));
    // Beyond the warp: the own value.
    EXPECT_EQ(up[lane], value(lane < 3 ? lane : lane - 3));
    EXPECT_EQ(down[lane], value(lane > 28 ? lane : lane + 3));
    EXPECT_EQ(exclusive[lane], value(lane ^ 5));
  }
}

TEST(WarpTest, ShufflesMoveEightBytes) {
  const auto moved =
      InEachLane<double>([](uint32_t lane) { return ShuffleXor(1.0 / (lane + 1.0), 1); });
  for (uint32_t lane = 0; lane < 32; ++lane) EXPECT_EQ(moved[lane], 1.0 / ((lane ^ 1) + 1.0));
}

TEST(WarpTest, VotesSeeAllLanes) {
  const auto ballot = InEachLane<uint32_t>([](uint32_t lane) { return Ballot(lane % 3 == 0); });
  const auto any = InEachLane<int>([](uint32_t lane) { return Any(lane == 31) ? 1 : 0; });
  const auto none = InEachLane<int>([](uint32_t) { return Any(false) ? 1 : 0; });
  const auto all = InEachLane<int>([](uint32_t) { return All(true) ? 1 : 0; });
  const auto not_all = InEachLane<int>([](uint32_t lane) { return All(lane != 7) ? 1 : 0; });
  for (uint32_t lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(ballot[lane], 0x49249249u);
    EXPECT_EQ(any[lane], 1);
    EXPECT_EQ(none[lane], 0);
    EXPECT_EQ(all[lane], 1);
    EXPECT_EQ(not_all[lane], 0);
  }
}

TEST(WarpTest, PartsOfAWarpWorkApart) {
  // The halves come to collectives of their own, and the upper one twice.
  const auto sums = InEachLane<int>([](uint32_t lane) {
    const int value = static_cast<int>(lane);
    if (lane < 16) return ShuffleXor(value, 1, 0x0000ffff);
    const int other = ShuffleXor(value, 1, 0xffff0000);
    return other + ShuffleXor(value, 2, 0xffff0000);
  });
  for (int lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(sums[lane], lane < 16 ? lane ^ 1 : (lane ^ 1) + (lane ^ 2)) << lane;
  }
}

TEST(WarpTest, AWarpMayBeCutShort) {
  std::array<uint32_t, 40> ballots = {};
  const LaunchReport report = simt::Run({.kernel = "short", .block = {40}}, {},
                                        [&] { ballots[ThreadIdx().x] = Ballot(true); });
  ASSERT_TRUE(report.ok()) << report;
  EXPECT_EQ(ballots[0], 0xffffffff);
  EXPECT_EQ(ballots[39], 0xffu);
}

TEST(WarpTest, SyncWarpMayBeCalledFromTwoLines) {
  const LaunchReport report = simt::Run({.kernel = "two_lines", .block = {32}}, {}, [] {
    if (ThreadIdx().x < 16) {
      SyncWarp();
    } else {
      SyncWarp();
    }
  });
  EXPECT_TRUE(report.ok()) << report;
}

TEST(WarpTest, AShuffleOrdersNoMemory) {
  for (const LaunchOptions& options : simt::EverySchedule()) {
    const LaunchReport report = simt::Run({.kernel = "shuffle", .block = {32}}, options, [] {
      SIMT_SHARED(int, tile, 32);
      const int lane = ThreadIdx().x;
      tile.Store(lane, lane);
      ShuffleXor(lane, 1);
      tile.Load(31 - lane);
    });
    ASSERT_FALSE(report.ok()) << options;
    EXPECT_EQ(report.fault->kind, FaultKind::kRace) << report;
  }
}

TEST(WarpTest, ReportsWhoWaitsWhere) {
  const LaunchReport report = simt::Run({.kernel = "absent", .block = {64}}, {}, [] {
    if (ThreadIdx().x >= 32 && ThreadIdx().x < 48) Ballot(true);
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kDeadlock);
  EXPECT_EQ(report.fault->thread, (Dim3{32, 0, 0}));
  EXPECT_NE(report.fault->detail.find("warp 1: 16 lanes (mask 0xffff) of mask 0xffffffff wait at "
                                      "Ballot in warp_test.cc:"),
            std::string::npos)
      << report;
}

}  // namespace
}  // namespace contextpool::kernels::emulated
