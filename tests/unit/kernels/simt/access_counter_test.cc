// Bank conflicts and sectors: single requests by hand, and those of whole kernels.

#include "kernels/simt/access_counter.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "kernels/cuda/primitives.cuh"
#include "kernels/simt/device_buffer.h"

namespace contextpool::kernels::simt {
namespace {

std::vector<uint64_t> Addresses(int lanes, const std::function<uint64_t(int)>& of_lane) {
  std::vector<uint64_t> addresses;
  for (int lane = 0; lane < lanes; ++lane) addresses.push_back(of_lane(lane));
  return addresses;
}

struct Counted {
  int64_t transactions;
  int64_t least;

  bool operator==(const Counted&) const = default;
};

Counted Banks(int lanes, int bytes, const std::function<uint64_t(int)>& of_lane) {
  const AccessCounts counts = CountBanks(Addresses(lanes, of_lane), bytes);
  EXPECT_EQ(counts.requests, 1);
  return {counts.transactions, counts.least_transactions};
}

Counted Sectors(int lanes, int bytes, const std::function<uint64_t(int)>& of_lane) {
  const AccessCounts counts = CountSectors(Addresses(lanes, of_lane), bytes);
  EXPECT_EQ(counts.requests, 1);
  return {counts.transactions, counts.least_transactions};
}

TEST(CountBanksTest, WordsOfOneBankTakeAPassEach) {
  EXPECT_EQ(Banks(32, 4, [](int lane) { return lane * 4; }), (Counted{1, 1}));
  EXPECT_EQ(Banks(32, 4, [](int lane) { return lane * 8; }), (Counted{2, 1}));
  EXPECT_EQ(Banks(32, 4, [](int lane) { return lane * 128; }), (Counted{32, 1}));
  // A column of a padded tile.
  EXPECT_EQ(Banks(32, 4, [](int lane) { return lane * 33 * 4; }), (Counted{1, 1}));
}

TEST(CountBanksTest, LanesShareAWord) {
  EXPECT_EQ(Banks(32, 4, [](int) { return 64; }), (Counted{1, 1}));
  EXPECT_EQ(Banks(32, 2, [](int lane) { return lane * 2; }), (Counted{1, 1}));
  EXPECT_EQ(Banks(32, 1, [](int lane) { return lane % 4 + 128 * (lane / 16); }), (Counted{2, 1}));
}

TEST(CountBanksTest, WideAccessesGoByHalvesAndQuarters) {
  EXPECT_EQ(Banks(32, 8, [](int lane) { return lane * 8; }), (Counted{2, 2}));
  EXPECT_EQ(Banks(32, 16, [](int lane) { return lane * 16; }), (Counted{4, 4}));
  // Rows of 128 bytes: all eight of a quarter in the same banks.
  EXPECT_EQ(Banks(32, 16, [](int lane) { return lane * 128; }), (Counted{32, 4}));
  EXPECT_EQ(Banks(8, 16, [](int lane) { return lane * 16; }), (Counted{1, 1}));
}

TEST(CountSectorsTest, CountsWhatIsTouchedAndWhatWouldDo) {
  EXPECT_EQ(Sectors(32, 4, [](int lane) { return 4096 + lane * 4; }), (Counted{4, 4}));
  // One word of each sector.
  EXPECT_EQ(Sectors(32, 4, [](int lane) { return 4096 + lane * 32; }), (Counted{32, 4}));
  // Shifted by half a sector.
  EXPECT_EQ(Sectors(32, 4, [](int lane) { return 4112 + lane * 4; }), (Counted{5, 4}));
  EXPECT_EQ(Sectors(32, 4, [](int) { return 4096; }), (Counted{1, 1}));
  EXPECT_EQ(Sectors(32, 16, [](int lane) { return 4096 + lane * 16; }), (Counted{16, 16}));
  EXPECT_EQ(Sectors(32, 2, [](int lane) { return 4096 + (31 - lane) * 2; }), (Counted{2, 2}));
}

// Of a kernel whose lanes load column `stride` of shared memory `times` times.
LaunchReport LoadColumn(int stride, int times, uint32_t threads) {
  return simt::Run({.kernel = "column", .block = {threads}, .shared_bytes = 32 * 33 * 4}, {}, [=] {
    const emulated::Shared<float> tile = emulated::SharedPool().Take<float>(32 * 33);
    const int i = emulated::ThreadIdx().x;
    tile.Store(i * stride, 1.0f);
    for (int n = 0; n < times; ++n) tile.Load(i * stride);
  });
}

TEST(AccessCounterTest, PutsTheAccessesOfAWarpTogether) {
  const LaunchReport conflicts = LoadColumn(32, 5, 32);
  ASSERT_TRUE(conflicts.ok()) << conflicts;
  EXPECT_EQ(conflicts.shared.requests, 6);
  EXPECT_EQ(conflicts.shared.transactions, 6 * 32);
  EXPECT_EQ(conflicts.shared.Excess(), 6 * 31);
  const LaunchReport none = LoadColumn(33, 5, 32);
  EXPECT_EQ(none.shared.requests, 6);
  EXPECT_EQ(none.shared.Excess(), 0);
}

TEST(AccessCounterTest, AShortWarpCountsToo) {
  const LaunchReport report = LoadColumn(32, 1, 12);
  EXPECT_EQ(report.shared.requests, 2);
  EXPECT_EQ(report.shared.transactions, 2 * 12);
}

TEST(AccessCounterTest, ALineThatSomeLanesVisitStartsAnewAfterAMeeting) {
  const LaunchReport report = simt::Run({.kernel = "branch", .block = {32}}, {}, [] {
    SIMT_SHARED(float, tile, 32);
    const int lane = emulated::ThreadIdx().x;
    for (int turn = 0; turn < 4; ++turn) {
      if (lane / 8 == turn) tile.Store(lane, 1.0f);
      emulated::SyncWarp();
    }
  });
  ASSERT_TRUE(report.ok()) << report;
  EXPECT_EQ(report.shared.requests, 4);
}

TEST(AccessCounterTest, NamesTheLines) {
  DeviceBuffer<float> in(64);
  int load_line = 0;
  int store_line = 0;
  const LaunchReport report = simt::Run({.kernel = "lines", .grid = {2}, .block = {32}}, {}, [&] {
    const emulated::Global<float> global(in.data(), in.size());
    const int lane = emulated::ThreadIdx().x;
    load_line = __LINE__ + 1;
    const float value = global.Load(2 * lane);
    store_line = __LINE__ + 1;
    global.Store(lane, value);
  });
  ASSERT_TRUE(report.ok()) << report;
  ASSERT_EQ(report.lines.size(), 2u);
  EXPECT_EQ(report.lines[0].site.line, load_line);
  EXPECT_EQ(report.lines[0].counts.requests, 2);
  EXPECT_EQ(report.lines[0].counts.transactions, 2 * 8);
  EXPECT_EQ(report.lines[0].counts.Excess(), 2 * 4);
  EXPECT_EQ(report.lines[1].site.line, store_line);
  EXPECT_EQ(report.lines[1].counts.Excess(), 0);
  EXPECT_EQ(report.global.transactions, 2 * 8 + 2 * 4);
}

}  // namespace
}  // namespace contextpool::kernels::simt
