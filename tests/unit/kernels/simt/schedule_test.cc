// In which order threads run, and how barriers hold them back.

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/cuda/primitives.cuh"
#include "kernels/simt/device_buffer.h"
#include "tests/unit/kernels/simt/schedules.h"

namespace contextpool::kernels::emulated {
namespace {

using simt::DeviceBuffer;
using simt::FaultKind;
using simt::LaunchOptions;
using simt::LaunchReport;
using simt::Schedule;

// The order in which threads of four warps pass three barriers.
std::vector<uint32_t> OrderOf(const LaunchOptions& options) {
  std::vector<uint32_t> order;
  const LaunchReport report = simt::Run({.kernel = "order", .block = {128}}, options, [&] {
    for (int i = 0; i < 3; ++i) {
      order.push_back(ThreadIdx().x);
      SyncWarp();
    }
  });
  EXPECT_TRUE(report.ok()) << report;
  return order;
}

TEST(ScheduleTest, IsTheSameForTheSameSeedAndAnotherForAnother) {
  for (const Schedule schedule : {Schedule::kLockstep, Schedule::kWarpGreedy}) {
    const auto first = OrderOf({.schedule = schedule, .seed = 1});
    EXPECT_EQ(first, OrderOf({.schedule = schedule, .seed = 1}));
    EXPECT_NE(first, OrderOf({.schedule = schedule, .seed = 2}));
  }
}

// How often the next thread to run is of another warp.
int WarpChanges(const std::vector<uint32_t>& order) {
  int changes = 0;
  for (size_t i = 1; i < order.size(); ++i) changes += order[i] / 32 != order[i - 1] / 32 ? 1 : 0;
  return changes;
}

TEST(ScheduleTest, GreedyWarpsRunAloneAndLockstepWarpsInTurns) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    EXPECT_EQ(WarpChanges(OrderOf({.schedule = Schedule::kWarpGreedy, .seed = seed})), 3);
    EXPECT_GE(WarpChanges(OrderOf({.schedule = Schedule::kLockstep, .seed = seed})), 8);
  }
}

TEST(ScheduleTest, HostThreadsChangeNothing) {
  constexpr int kBlocks = 64;
  std::vector<std::vector<float>> results;
  for (const int host_threads : {1, 4}) {
    DeviceBuffer<float> out(kBlocks * 64);
    const LaunchReport report = simt::Run(
        {.kernel = "blocks", .grid = {kBlocks}, .block = {64}},
        {.seed = 3, .host_threads = host_threads}, [&] {
          SIMT_SHARED(float, tile, 64);
          const int i = ThreadIdx().x;
          tile.Store(i, static_cast<float>(BlockIdx().x * 64 + i));
          SyncThreads();
          Global<float>(out.data(), out.size()).Store(BlockIdx().x * 64 + i, tile.Load(63 - i));
        });
    ASSERT_TRUE(report.ok()) << report;
    EXPECT_EQ(report.global.requests, kBlocks * 2);
    EXPECT_EQ(report.lane_operations, kBlocks * 64 * 4);
    results.push_back(out.ToHost());
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0][0], 63);
}

// Two warps fill a ring of two slots, two others empty it.
TEST(BarrierTest, NamedBarriersHandOverBetweenGroupsOfWarps) {
  constexpr int kItems = 6;
  for (const LaunchOptions& options : simt::EverySchedule()) {
    DeviceBuffer<float> out(kItems * 64);
    const LaunchReport report = simt::Run({.kernel = "ring", .block = {128}}, options, [&] {
      SIMT_SHARED(float, ring, 2 * 64);
      const int i = ThreadIdx().x % 64;
      const bool fills = ThreadIdx().x < 64;
      for (int item = 0; item < kItems; ++item) {
        const uint32_t full = 1 + item % 2;
        const uint32_t empty = 3 + item % 2;
        const int place = item % 2 * 64;
        if (fills) {
          if (item >= 2) SyncNamed(empty, 128);
          ring.Store(place + i, static_cast<float>(item * 64 + i));
          ArriveNamed(full, 128);
        } else {
          SyncNamed(full, 128);
          Global<float>(out.data(), out.size())
              .Store(item * 64 + 63 - i, ring.Load(place + 63 - i));
          if (item < kItems - 2) ArriveNamed(empty, 128);
        }
      }
    });
    ASSERT_TRUE(report.ok()) << options << ": " << report;
    for (int i = 0; i < kItems * 64; ++i) ASSERT_EQ(out[i], i) << options;
  }
}

TEST(BarrierTest, NamedBarriersAreForWholeWarps) {
  for (const auto& [id, threads] : {std::pair{0u, 32u}, {16u, 32u}, {1u, 48u}, {1u, 0u}}) {
    const LaunchReport report =
        simt::Run({.kernel = "named", .block = {64}}, {},
                  [=, id = id, threads = threads] { SyncNamed(id, threads); });
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.fault->kind, FaultKind::kBarrierMismatch);
  }
}

}  // namespace
}  // namespace contextpool::kernels::emulated
