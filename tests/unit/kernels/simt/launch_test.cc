// Launches: what is refused, how blocks, threads and shared memory are laid out, and how faults
// come back.

#include "kernels/simt/launch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cuda/primitives.cuh"
#include "kernels/simt/device_buffer.h"

namespace contextpool::kernels::emulated {
namespace {

using simt::DeviceBuffer;
using simt::FaultKind;
using simt::LaunchOptions;
using simt::LaunchReport;

void DoNothing() {}

TEST(LaunchTest, RunsEachThreadOfEachBlockOnce) {
  std::multiset<std::tuple<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>> seen;
  const LaunchReport report =
      simt::Run({.kernel = "places", .grid = {3, 2, 2}, .block = {4, 3, 2}}, {}, [&] {
        const Dim3 block = BlockIdx();
        const Dim3 thread = ThreadIdx();
        EXPECT_EQ(GridDim(), (Dim3{3, 2, 2}));
        EXPECT_EQ(BlockDim(), (Dim3{4, 3, 2}));
        seen.insert({block.x, block.y, block.z, thread.x, thread.y, thread.z});
      });
  ASSERT_TRUE(report.ok()) << report;
  EXPECT_EQ(seen.size(), 12u * 24u);
  EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), seen.size());
  EXPECT_EQ(*seen.rbegin(), std::make_tuple(2u, 1u, 1u, 3u, 2u, 1u));
}

TEST(LaunchTest, RefusesWhatNoGpuTakes) {
  for (const LaunchConfig& config :
       {LaunchConfig{.kernel = "threads", .block = {1025}},
        LaunchConfig{.kernel = "no_threads", .block = {0}},
        LaunchConfig{.kernel = "deep", .block = {1, 1, 65}},
        LaunchConfig{.kernel = "no_blocks", .grid = {1, 0}},
        LaunchConfig{.kernel = "tall", .grid = {1, 65536}},
        LaunchConfig{.kernel = "shared", .shared_bytes = 228 * 1024}}) {
    simt::Stream stream;
    EXPECT_EQ(stream.Launch(config, DoNothing), Status::kLaunchFailed) << config.kernel;
    EXPECT_EQ(stream.reports().back().fault->kind, FaultKind::kBadLaunch) << config.kernel;
  }
}

TEST(LaunchTest, FixedArraysShareALimit) {
  const auto run = [](LaunchOptions options, size_t dynamic_bytes) {
    return simt::Run({.kernel = "arrays", .shared_bytes = dynamic_bytes}, options, [] {
      SIMT_SHARED(float, first, 6 * 1024);
      SIMT_SHARED(float, second, 6 * 1024);
      first.Store(0, 1.0f);
      second.Store(0, 1.0f);
    });
  };
  EXPECT_TRUE(run({}, 100 * 1024).ok());
  const LaunchReport report = run({.shared_bytes_limit = 147 * 1024}, 100 * 1024);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kBadLaunch);
}

TEST(LaunchTest, DynamicSharedMemoryEndsWhereTheLaunchSaid) {
  const LaunchConfig config = {.kernel = "pool", .block = {64}, .shared_bytes = 1024};
  const auto take = [](int count, size_t alignment) {
    return [=] {
      SharedPool pool;
      pool.Take<float>(1);
      pool.Take<float>(count, alignment);
    };
  };
  EXPECT_TRUE(simt::Run(config, {}, take(252, 16)).ok());
  EXPECT_EQ(simt::Run(config, {}, take(253, 16)).fault->kind, FaultKind::kOutOfBounds);
  EXPECT_EQ(simt::Run(config, {}, take(252, 32)).fault->kind, FaultKind::kOutOfBounds);
}

TEST(LaunchTest, EachBlockStartsWithPoison) {
  LaunchOptions options;
  options.fault_on_uninitialised_shared = false;
  DeviceBuffer<float> out(4);
  const LaunchReport report =
      simt::Run({.kernel = "poison", .grid = {2}, .shared_bytes = 4}, options, [&] {
        SIMT_SHARED(float, fixed, 1);
        const Shared<float> dynamic = SharedPool().Take<float>(1);
        const Global<float> global(out.data(), out.size());
        global.Store(BlockIdx().x * 2, fixed.Load(0));
        global.Store(BlockIdx().x * 2 + 1, dynamic.Load(0));
        fixed.Store(0, 1.0f);
        dynamic.Store(0, 1.0f);
      });
  ASSERT_TRUE(report.ok()) << report;
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(std::isnan(out[i])) << i;
}

TEST(LaunchTest, NamesTheThreadAndTheLineOfAFault) {
  DeviceBuffer<float> in(96, "in");
  int line = 0;
  const LaunchReport report =
      simt::Run({.kernel = "far", .grid = {1, 3}, .block = {8, 4}}, {}, [&] {
        const Global<const float> global(in.data(), 96);
        const int64_t i = (BlockIdx().y * 4 + ThreadIdx().y) * 8 + ThreadIdx().x;
        line = __LINE__ + 1;
        global.Load(i == 85 ? 96 : i);
      });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->ToString(),
            "far, block (0, 2, 0), thread (5, 2, 0), launch_test.cc:" + std::to_string(line) +
                ": out of bounds: loads elements [96, 97) of 96, 4 bytes each");
}

TEST(LaunchTest, MemoryMustBeRegisteredAndAlive) {
  const auto load = [](const float* data, int64_t count, int64_t i) {
    return simt::Run({.kernel = "load"}, {}, [=] { Global<const float>(data, count).Load(i); });
  };
  auto buffer = std::make_unique<DeviceBuffer<float>>(10);
  const float* const data = buffer->data();
  EXPECT_TRUE(load(data, 10, 9).ok());
  // A launcher that states too much.
  EXPECT_EQ(load(data, 100, 10).fault->kind, FaultKind::kUnregistered);
  EXPECT_EQ(load(data - 1, 10, 0).fault->kind, FaultKind::kUnregistered);
  buffer.reset();
  EXPECT_EQ(load(data, 10, 9).fault->kind, FaultKind::kUnregistered);
}

TEST(LaunchTest, CopiesAreCheckedAtBothEnds) {
  DeviceBuffer<uint16_t> in(16);
  const auto copy = [&](int to, int64_t from, int source_bytes) {
    const LaunchReport report = simt::Run({.kernel = "copy"}, {}, [&] {
      SIMT_SHARED(uint16_t, tile, 16);
      CopyAsync<16>(tile, to, Global<const uint16_t>(in.data(), 16), from, source_bytes);
    });
    return report.ok() ? "ok" : Name(report.fault->kind);
  };
  EXPECT_STREQ(copy(8, 8, 16), "ok");
  EXPECT_STREQ(copy(16, 0, 16), "out of bounds");
  EXPECT_STREQ(copy(0, 16, 16), "out of bounds");
  EXPECT_STREQ(copy(4, 0, 16), "misaligned");
  EXPECT_STREQ(copy(0, 4, 16), "misaligned");
  // Only what is read must exist.
  EXPECT_STREQ(copy(0, 1000, 0), "ok");
}

TEST(LaunchTest, AShortCopyIsFilledWithZeros) {
  DeviceBuffer<float> in(std::vector<float>{1, 2, 3, 4});
  DeviceBuffer<float> out(4);
  const LaunchReport report = simt::Run({.kernel = "fill"}, {}, [&] {
    SIMT_SHARED(float, tile, 4);
    CopyAsync<16>(tile, 0, Global<const float>(in.data(), 4), 0, 12);
    CopyAsyncCommit();
    CopyAsyncWait<0>();
    for (int i = 0; i < 4; ++i) Global<float>(out.data(), 4).Store(i, tile.Load(i));
  });
  ASSERT_TRUE(report.ok()) << report;
  EXPECT_EQ(out.ToHost(), (std::vector<float>{1, 2, 3, 0}));
}

TEST(LaunchTest, AnExceptionIsAFault) {
  const LaunchReport report = simt::Run({.kernel = "throws", .block = {64}}, {}, [] {
    SyncThreads();
    if (ThreadIdx().x == 40) throw std::runtime_error("no such case");
    SyncThreads();
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.fault->kind, FaultKind::kException);
  EXPECT_EQ(report.fault->thread, (Dim3{40, 0, 0}));
  EXPECT_EQ(report.fault->detail, "no such case");
}

TEST(LaunchTest, AFaultUnwindsEveryThread) {
  const auto alive = std::make_shared<int>();
  const LaunchReport report = simt::Run({.kernel = "unwinds", .block = {64}}, {}, [&] {
    const std::shared_ptr<int> held = alive;
    if (ThreadIdx().x != 63) SyncThreads();
  });
  EXPECT_EQ(report.fault->kind, FaultKind::kDeadlock);
  EXPECT_EQ(alive.use_count(), 1);
}

TEST(LaunchTest, ALaunchAfterAFaultRuns) {
  simt::Stream stream;
  EXPECT_EQ(stream.Launch({.kernel = "bad"}, [] { throw std::runtime_error("bad"); }),
            Status::kLaunchFailed);
  EXPECT_EQ(stream.Launch({.kernel = "good"}, DoNothing), Status::kOk);
  ASSERT_EQ(stream.reports().size(), 2u);
  EXPECT_FALSE(stream.reports()[0].ok());
  EXPECT_TRUE(stream.reports()[1].ok());
}

}  // namespace
}  // namespace contextpool::kernels::emulated
