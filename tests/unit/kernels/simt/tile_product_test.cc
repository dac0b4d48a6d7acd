// The whole path of a tensor-core kernel: right on every schedule, and each of its faults found.

#include "tests/unit/kernels/simt/tile_product.cuh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/simt/device_buffer.h"
#include "tests/unit/kernels/simt/schedules.h"

namespace contextpool::kernels::emulated {
namespace {

using simt::FaultKind;
using simt::LaunchOptions;
using simt::LaunchReport;

// Two blocks of rows, the second one cut off; three tiles of depth, so that a buffer is used again.
constexpr int kRows = 100;
constexpr int kColumns = 64;
constexpr int kDepth = 192;

template <typename T>
std::vector<T> RandomMatrix(int size, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<T> values(size);
  for (T& value : values) value = FromFloat<T>(normal(random));
  return values;
}

struct Outcome {
  LaunchReport report;
  // Largest difference from the product in double.
  double error = 0;
};

template <typename T, TileFault kFault>
Outcome Multiply(const LaunchOptions& options) {
  const std::vector<T> a = RandomMatrix<T>(kRows * kDepth, 1);
  const std::vector<T> b = RandomMatrix<T>(kDepth * kColumns, 2);
  simt::DeviceBuffer<T> device_a(a, "a");
  simt::DeviceBuffer<T> device_b(b, "b");
  simt::DeviceBuffer<float> out(kRows * kColumns, "out");
  const TileProductArgs<T> args = {.a = {device_a.data(), kRows * kDepth},
                                   .b = {device_b.data(), kDepth * kColumns},
                                   .out = {out.data(), kRows * kColumns},
                                   .rows = kRows,
                                   .columns = kColumns,
                                   .depth = kDepth};
  simt::Stream stream(options);
  const LaunchConfig config = {.kernel = "tile_product",
                               .grid = {kColumns / kTile, (kRows + kTile - 1) / kTile},
                               .block = {kTileThreads},
                               .shared_bytes = kTileSharedBytes};
  const Status status = Launch(config, stream.handle(), TileProduct<T, kFault>, args);
  Outcome outcome = {stream.reports().back()};
  if (status != Status::kOk) return outcome;
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      double expected = 0;
      for (int k = 0; k < kDepth; ++k) {
        expected += double{ToFloat(a[row * kDepth + k])} * ToFloat(b[k * kColumns + column]);
      }
      const double error = std::abs(out[row * kColumns + column] - expected);
      // NaN is the worst.
      if (!(error <= outcome.error)) outcome.error = error;
    }
  }
  return outcome;
}

// 192 products of normal values in fp32.
constexpr double kTolerance = 1e-4;

TEST(TileProductTest, IsRightOnEverySchedule) {
  for (const LaunchOptions& options : simt::EverySchedule()) {
    SCOPED_TRACE(::testing::Message() << options);
    const Outcome bf16 = Multiply<BF16, TileFault::kNone>(options);
    EXPECT_TRUE(bf16.report.ok()) << bf16.report;
    EXPECT_LT(bf16.error, kTolerance);
    const Outcome f16 = Multiply<F16, TileFault::kNone>(options);
    EXPECT_TRUE(f16.report.ok()) << f16.report;
    EXPECT_LT(f16.error, kTolerance);
  }
}

TEST(TileProductTest, HasNoBankConflictsAndWastesNoSector) {
  const LaunchReport report = Multiply<BF16, TileFault::kNone>({}).report;
  EXPECT_GT(report.shared.requests, 0);
  EXPECT_EQ(report.shared.Excess(), 0) << report;
  EXPECT_GT(report.global.requests, 0);
  EXPECT_EQ(report.global.Excess(), 0) << report;
}

TEST(TileProductTest, WithoutASwizzleRowsShareBanks) {
  const Outcome outcome = Multiply<BF16, TileFault::kNoSwizzle>({});
  EXPECT_LT(outcome.error, kTolerance);
  EXPECT_GT(outcome.report.shared.Excess(), outcome.report.shared.least_transactions)
      << outcome.report;
}

// How many of the schedules find the fault, by its result or in the report; and that those that
// report it call it one of `kinds`.
template <TileFault kFault>
int SchedulesThatFind(std::vector<FaultKind> kinds) {
  int found = 0;
  for (const LaunchOptions& options : simt::EverySchedule()) {
    const Outcome outcome = Multiply<BF16, kFault>(options);
    if (outcome.report.ok()) {
      found += outcome.error > kTolerance ? 1 : 0;
      continue;
    }
    EXPECT_THAT(kinds, ::testing::Contains(outcome.report.fault->kind)) << outcome.report;
    ++found;
  }
  return found;
}

TEST(TileProductTest, AWrongSwizzleGivesAWrongResultOnEverySchedule) {
  EXPECT_EQ(SchedulesThatFind<TileFault::kWrongSwizzle>({}), 20);
}

TEST(TileProductTest, AMissingWaitIsFoundByEverySchedule) {
  EXPECT_EQ(SchedulesThatFind<TileFault::kMissingWait>({FaultKind::kPendingCopy}), 20);
  EXPECT_EQ(SchedulesThatFind<TileFault::kWaitTooShort>({FaultKind::kPendingCopy}), 20);
}

TEST(TileProductTest, AMissingBarrierIsFoundByEverySchedule) {
  const std::vector<FaultKind> kinds = {FaultKind::kPendingCopy, FaultKind::kUninitialised,
                                        FaultKind::kRace};
  EXPECT_EQ(SchedulesThatFind<TileFault::kMissingBarrier>(kinds), 20);
  EXPECT_EQ(SchedulesThatFind<TileFault::kMissingSecondBarrier>(kinds), 20);
}

}  // namespace
}  // namespace contextpool::kernels::emulated
