#include "engine/device/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <thread>

namespace contextpool::engine {
namespace {

using kernels::Isa;

double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(ThreadPoolTest, RunsEveryTaskOnceOnAThreadOfItsOwn) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads, Isa::kReference);
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t tasks : {0, 1, 2, 3, 100}) {
      std::vector<std::atomic<int>> runs(tasks);
      std::vector<std::atomic<int>> inside(threads);
      pool.ParallelFor(tasks, [&](int64_t task, int thread) {
        ASSERT_GE(thread, 0);
        ASSERT_LT(thread, threads);
        EXPECT_EQ(inside[thread].fetch_add(1), 0) << "two tasks at once as the same thread";
        runs[task].fetch_add(1);
        inside[thread].fetch_sub(1);
      });
      for (int64_t i = 0; i < tasks; ++i) EXPECT_EQ(runs[i].load(), 1);
    }
  }
}

TEST(ThreadPoolTest, FinishesALoopBeforeTheNextBegins) {
  ThreadPool pool(4, Isa::kReference);
  std::vector<int64_t> values(64, 0);
  // Plain memory: a task of an earlier loop still running would be a lost update here and a report
  // under ThreadSanitizer.
  for (int round = 0; round < 5000; ++round) {
    pool.ParallelFor(64, [&](int64_t task, int) { ++values[(task + round) % 64]; });
  }
  for (int64_t value : values) EXPECT_EQ(value, 5000);
}

TEST(ThreadPoolTest, WakesThreadsThatSleep) {
  ThreadPool pool(2, Isa::kReference);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    // Ends only if two threads are inside at once.
    std::atomic<int> arrived{0};
    pool.ParallelFor(2, [&](int64_t, int) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
  }
}

TEST(ThreadPoolTest, GoesOnWhenTheLoopNumberWraps) {
  ThreadPool pool(2, Isa::kReference, UINT32_MAX - 2);
  for (int round = 0; round < 6; ++round) {
    // Ends only if the helper takes part in each loop.
    std::atomic<int> arrived{0};
    pool.ParallelFor(2, [&](int64_t, int) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
  }
}

TEST(ThreadPoolTest, UsesNoProcessorTimeWhenIdle) {
  ThreadPool pool(4, Isa::kReference);
  pool.ParallelFor(8, [](int64_t, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const double before = CpuSeconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(CpuSeconds() - before, 0.01);
}

}  // namespace
}  // namespace contextpool::engine
