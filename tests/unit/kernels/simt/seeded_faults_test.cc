// Every mistake of seeded_faults.cuh and seeded_matrix_faults.cuh is found and named, but for those
// that are no fault of memory and show in the result alone; without it the kernels are right.

#include "tests/unit/kernels/simt/seeded_faults.cuh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "kernels/simt/device_buffer.h"
#include "tests/unit/kernels/simt/schedules.h"
#include "tests/unit/kernels/simt/seeded_matrix_faults.cuh"

namespace contextpool::kernels::emulated {
namespace {

using simt::FaultKind;
using simt::LaunchOptions;
using simt::LaunchReport;

constexpr int kBlocks = 3;
constexpr int kSize = kBlocks * kReversed;

using Kernel = void (*)(ReverseArgs);

struct SeededFault {
  const char* name;
  Kernel right;
  Kernel broken;
  // What every schedule calls it: some find the same mistake earlier than others. Empty: no access
  // is at fault, and the results alone tell.
  std::vector<FaultKind> kinds;
};

std::ostream& operator<<(std::ostream& out, const SeededFault& fault) { return out << fault.name; }

#define SEEDED_FAULT(kernel, ...)                             \
  SeededFault {                                               \
#kernel, kernel < false>, kernel < true>, { __VA_ARGS__ } \
  }

const SeededFault kFaults[] = {
    SEEDED_FAULT(MissingBarrier, FaultKind::kRace, FaultKind::kUninitialised),
    SEEDED_FAULT(MissingBarrierBeforeReuse, FaultKind::kRace),
    SEEDED_FAULT(MissingSyncWarp, FaultKind::kRace, FaultKind::kUninitialised),
    SEEDED_FAULT(SyncWarpOfHalves, FaultKind::kRace),
    SEEDED_FAULT(StoreOverLoadsOfLanes, FaultKind::kRace),
    SEEDED_FAULT(StoreOverLoadsOfWarps, FaultKind::kRace),
    SEEDED_FAULT(MissingSyncAfterStoreMatrix, FaultKind::kRace),
    SEEDED_FAULT(MissingSyncBeforeStoreMatrix, FaultKind::kRace),
    SEEDED_FAULT(MissingWait, FaultKind::kPendingCopy),
    SEEDED_FAULT(MissingCommit, FaultKind::kPendingCopy),
    SEEDED_FAULT(StoreDuringCopy, FaultKind::kPendingCopy),
    SEEDED_FAULT(OutOfBoundsShared, FaultKind::kOutOfBounds),
    SEEDED_FAULT(OutOfBoundsIntoNeighbour, FaultKind::kOutOfBounds),
    SEEDED_FAULT(OutOfBoundsGlobal, FaultKind::kOutOfBounds),
    SEEDED_FAULT(OutOfBoundsStore, FaultKind::kOutOfBounds),
    SEEDED_FAULT(CopyFromOutOfBounds, FaultKind::kOutOfBounds),
    SEEDED_FAULT(CopyToOutOfBounds, FaultKind::kOutOfBounds),
    SEEDED_FAULT(MisalignedVector, FaultKind::kMisaligned),
    SEEDED_FAULT(MisalignedStore, FaultKind::kMisaligned),
    SEEDED_FAULT(MisalignedShared, FaultKind::kMisaligned),
    SEEDED_FAULT(MisalignedCopy, FaultKind::kMisaligned),
    SEEDED_FAULT(MisalignedMatrixRow, FaultKind::kMisaligned),
    SEEDED_FAULT(WrongSwizzle, ),
    SEEDED_FAULT(Uninitialised, FaultKind::kUninitialised),
    SEEDED_FAULT(DivergentShuffle, FaultKind::kDeadlock),
    SEEDED_FAULT(DifferentCollectives, FaultKind::kDivergentCollective),
    SEEDED_FAULT(DivergentMma, FaultKind::kDeadlock),
    SEEDED_FAULT(DifferentMmas, FaultKind::kDivergentCollective),
    SEEDED_FAULT(LaneOutsideItsMask, FaultKind::kDivergentCollective, FaultKind::kDeadlock),
    SEEDED_FAULT(ShuffleFromAbsentLane, FaultKind::kDivergentCollective),
    SEEDED_FAULT(EarlyReturn, FaultKind::kDeadlock),
    SEEDED_FAULT(BarrierInBranch, FaultKind::kBarrierMismatch),
    SEEDED_FAULT(NamedBarrierTooSmall, FaultKind::kBarrierMismatch, FaultKind::kUninitialised),
    SEEDED_FAULT(StoreAfterArrival, FaultKind::kRace, FaultKind::kUninitialised),
    SEEDED_FAULT(EndlessLoop, FaultKind::kRunaway),
};

class SeededFaultTest : public testing::TestWithParam<SeededFault> {
 protected:
  SeededFaultTest() : in_(kSize, "in"), out_(kSize, "out") {
    for (int i = 0; i < kSize; ++i) {
      in_[i] = static_cast<float>(i + 1);
      const int from = i / kReversed * kReversed + kReversed - 1 - i % kReversed;
      reversed_.push_back(static_cast<float>(from + 1));
    }
  }

  LaunchReport Launch(Kernel kernel, LaunchOptions options) {
    options.accesses_limit = 10'000;
    for (int i = 0; i < kSize; ++i) out_[i] = 0;
    const ReverseArgs args = {.in = {in_.data(), kSize}, .out = {out_.data(), kSize}};
    const LaunchConfig config = {.kernel = GetParam().name,
                                 .grid = {kBlocks},
                                 .block = {kReversed},
                                 .shared_bytes = 2 * kReversed * sizeof(float)};
    return simt::Run(config, options, [&] { kernel(args); });
  }

  simt::DeviceBuffer<float> in_;
  simt::DeviceBuffer<float> out_;
  std::vector<float> reversed_;
};

TEST_P(SeededFaultTest, IsFoundByEverySchedule) {
  for (const LaunchOptions& options : simt::EverySchedule()) {
    SCOPED_TRACE(testing::Message() << options);
    const LaunchReport report = Launch(GetParam().broken, options);
    if (GetParam().kinds.empty()) {
      EXPECT_TRUE(report.ok()) << report;
      EXPECT_NE(out_.ToHost(), reversed_);
      continue;
    }
    ASSERT_FALSE(report.ok());
    EXPECT_THAT(GetParam().kinds, testing::Contains(report.fault->kind)) << report;
    EXPECT_EQ(report.fault->kernel, GetParam().name);
    EXPECT_THAT(report.fault->site.file, testing::EndsWith("_faults.cuh"));
  }
}

TEST_P(SeededFaultTest, WithoutItTheKernelIsRight) {
  for (const LaunchOptions& options : simt::EverySchedule()) {
    SCOPED_TRACE(testing::Message() << options);
    const LaunchReport report = Launch(GetParam().right, options);
    ASSERT_TRUE(report.ok()) << report;
    EXPECT_EQ(out_.ToHost(), reversed_);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryFault, SeededFaultTest, testing::ValuesIn(kFaults),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace contextpool::kernels::emulated
