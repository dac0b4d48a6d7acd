// How the lanes of a warp meet. What they exchange: tests/unit/kernels/cuda/primitives_test.cu.

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>

#include "kernels/cuda/primitives.cuh"
#include "tests/unit/kernels/simt/schedules.h"

namespace contextpool::kernels::emulated {
namespace {

using simt::FaultKind;
using simt::LaunchOptions;
using simt::LaunchReport;

TEST(WarpTest, PartsOfAWarpWorkApart) {
  for (const LaunchOptions& options : simt::EverySchedule()) {
    std::array<int, 32> sums = {};
    // The halves come to collectives of their own, and the upper one twice.
    const LaunchReport report = simt::Run({.kernel = "halves", .block = {32}}, options, [&] {
      const int lane = ThreadIdx().x;
      if (lane < 16) {
        sums[lane] = ShuffleXor(lane, 1, 0x0000ffff);
      } else {
        sums[lane] = ShuffleXor(lane, 1, 0xffff0000);
        sums[lane] += ShuffleXor(lane, 2, 0xffff0000);
      }
    });
    ASSERT_TRUE(report.ok()) << options << ": " << report;
    for (int lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(sums[lane], lane < 16 ? lane ^ 1 : (lane ^ 1) + (lane ^ 2)) << lane;
    }
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
