// What goes wrong with matrix instructions. What they do:
// tests/unit/kernels/cuda/matrix_primitives_test.cu.

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>

#include "kernels/cuda/primitives.cuh"
#include "kernels/simt/launch.h"

namespace contextpool::kernels::emulated {
namespace {

using simt::FaultKind;
using simt::LaunchReport;

// Runs `kernel` in one warp.
LaunchReport RunWarp(const std::function<void()>& kernel, uint32_t threads = 32) {
  return simt::Run({.kernel = "matrix", .block = {threads}}, {}, kernel);
}

constexpr int kColumns = 32;

// Eight rows, all written.
void FillTile(Shared<uint16_t> tile) {
  for (int i = ThreadIdx().x; i < 8 * kColumns; i += 32) tile.Store(i, 1);
  SyncWarp();
}

TEST(MatrixTest, LooksAtTheAddressesOfItsOwnLanesOnly) {
  const LaunchReport report = RunWarp([] {
    SIMT_SHARED(uint16_t, tile, 8 * kColumns);
    FillTile(tile);
    const int lane = ThreadIdx().x;
    LoadMatrix<1>(tile, lane < 8 ? lane * kColumns : 1'000'000);
  });
  EXPECT_TRUE(report.ok()) << report;
}

TEST(MatrixTest, ARowAtAnOddPlaceIsMisaligned) {
  const LaunchReport report = RunWarp([] {
    SIMT_SHARED(uint16_t, tile, 8 * kColumns);
    FillTile(tile);
    const int lane = ThreadIdx().x;
    LoadMatrix<4>(tile, lane == 9 ? 4 : lane % 8 * kColumns);
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kMisaligned);
  EXPECT_EQ(report.fault->thread, (Dim3{9, 0, 0}));
}

TEST(MatrixTest, NamesTheLaneWhoseRowNobodyWrote) {
  const LaunchReport report = RunWarp([] {
    SIMT_SHARED(uint16_t, tile, 32 * 8);
    const int lane = ThreadIdx().x;
    if (lane != 21) tile.StoreVec(lane * 8, Vec<uint16_t, 8>{});
    SyncWarp();
    LoadMatrix<4>(tile, lane * 8);
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kUninitialised);
  EXPECT_EQ(report.fault->thread, (Dim3{21, 0, 0}));
}

TEST(MatrixTest, NeedsAWholeWarp) {
  const LaunchReport report = RunWarp(
      [] {
        Vec<float, 4> d = {};
        Mma<BF16>(d, {}, {});
      },
      24);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kDivergentCollective);
}

TEST(MatrixTest, LanesInTwoBranchesDoNotMeet) {
  const LaunchReport report = RunWarp([] {
    Vec<float, 4> d = {};
    if (ThreadIdx().x < 16) {
      Mma<BF16>(d, {}, {});
    } else {
      Mma<BF16>(d, {}, {});
    }
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kDivergentCollective);
}

}  // namespace
}  // namespace contextpool::kernels::emulated
