// The orders of accesses that a kernel does not always run into. Whole kernels that race:
// seeded_faults_test.cc.

#include "kernels/simt/race_detector.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

namespace contextpool::kernels::simt {
namespace {

constexpr uint32_t kWarp = 32;

class RaceDetectorTest : public testing::Test {
 protected:
  RaceDetectorTest() { races_.Start(); }

  // Of four bytes. Whom they race with.
  std::optional<uint32_t> Load(uint32_t actor) { return races_.OnLoad(actor, 8, 4); }
  std::optional<uint32_t> Store(uint32_t actor) { return races_.OnStore(actor, 8, 4); }

  // These warps meet at a barrier.
  template <size_t N>
  void Meet(const uint32_t (&warps)[N]) {
    RaceDetector::Clocks clocks = {};
    for (const uint32_t warp : warps) races_.Arrive(warp, clocks);
    for (const uint32_t warp : warps) races_.Leave(warp, clocks);
  }

  RaceDetector races_;
};

TEST_F(RaceDetectorTest, RemembersEveryLaneThatLoaded) {
  for (uint32_t lane = 0; lane < 32; ++lane) EXPECT_EQ(Load(lane), std::nullopt);
  EXPECT_EQ(Store(31), RaceDetector::LanesActor(0));
  races_.SyncWarp(0);
  EXPECT_EQ(Store(31), std::nullopt);
}

TEST_F(RaceDetectorTest, ALaneMayStoreOverWhatItAloneLoaded) {
  Load(5);
  Load(5);
  EXPECT_EQ(Store(5), std::nullopt);
  EXPECT_EQ(Store(6), 5u);
}

TEST_F(RaceDetectorTest, RemembersEveryWarpThatLoaded) {
  for (uint32_t warp = 0; warp < 8; ++warp) EXPECT_EQ(Load(warp * kWarp), std::nullopt);
  // Everyone but the one that came first.
  Meet({1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(Store(7 * kWarp), 0u);
  Meet({0, 7});
  EXPECT_EQ(Store(7 * kWarp), std::nullopt);
}

TEST_F(RaceDetectorTest, AWarpsOwnLoadIsOverForItsLanesAndHidesNoneOfTheirs) {
  Load(RaceDetector::WarpActor(0));
  EXPECT_EQ(Store(3), std::nullopt);
  races_.Start();
  Load(4);
  Load(RaceDetector::WarpActor(0));
  EXPECT_EQ(Store(3), 4u);
  EXPECT_EQ(Store(kWarp), 4u);
}

TEST_F(RaceDetectorTest, LanesThatMeetAreOrderedAndNoOthers) {
  Store(3);
  races_.SyncLanes(0, 0x0000000f);
  EXPECT_EQ(Load(2), std::nullopt);
  EXPECT_EQ(Load(4), 3u);
  // What lane 3 did reaches lane 4 through those that met it.
  races_.SyncLanes(0, 0x00000014);
  EXPECT_EQ(Load(4), std::nullopt);
  // What it does from now on does not.
  races_.RecordStore(3, 8, 4);
  EXPECT_EQ(Load(4), 3u);
  races_.SyncWarp(0);
  EXPECT_EQ(Load(4), std::nullopt);
}

TEST_F(RaceDetectorTest, AMatrixStoreIsOverForNoLaneBeforeTheyMeet) {
  const uint32_t lanes = RaceDetector::LanesActor(0);
  EXPECT_EQ(Store(lanes), std::nullopt);
  EXPECT_EQ(Store(lanes), lanes);
  EXPECT_EQ(Load(0), lanes);
  races_.SyncLanes(0, 0x0000ffff);
  EXPECT_EQ(Load(20), lanes);
  races_.SyncWarp(0);
  EXPECT_EQ(Load(20), std::nullopt);
}

TEST_F(RaceDetectorTest, ComingToABarrierOrdersNoLanes) {
  RaceDetector::Clocks clocks = {};
  Store(0);
  races_.Arrive(0, clocks);
  races_.GoOn(0);
  EXPECT_EQ(Load(1), 0u);
  races_.Leave(1, clocks);
  EXPECT_EQ(Load(kWarp), std::nullopt);
}

TEST_F(RaceDetectorTest, ForgetsTheBlockBefore) {
  Load(0);
  Store(0);
  races_.Start();
  EXPECT_EQ(Store(kWarp), std::nullopt);
}

}  // namespace
}  // namespace contextpool::kernels::simt
