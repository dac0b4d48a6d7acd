#include "engine/decode_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/gate.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

TimePoint At(int seconds) { return TimePoint() + std::chrono::seconds(seconds); }

// A pool that waits at the gate before every input, and notes what it does.
class DecodePoolTest : public ::testing::Test {
 protected:
  DecodeWork Work(std::string name, int32_t inputs, Priority priority = Priority::kInteractive,
                  TimePoint deadline = TimePoint::max()) {
    DecodeWork work;
    work.priority = priority;
    work.deadline = deadline;
    work.inputs = inputs;
    work.decode = [this, name](int32_t input) {
      gate_.Pass();
      Note(absl::StrCat(name, input));
    };
    work.done = [this, name] { Note(name + " done"); };
    return work;
  }

  // Occupies the pool's only thread until the gate is opened.
  void Occupy(DecodePool& pool) {
    gate_.Close();
    pool.Add(Work("first", 1));
    gate_.WaitForArrivals(1);
  }

  void Note(std::string what) {
    MutexLock lock(mutex_);
    log_.push_back(std::move(what));
  }

  // What happened, once the pool has done everything.
  std::vector<std::string> Finish(std::optional<DecodePool>& pool) {
    gate_.Open();
    pool.reset();
    MutexLock lock(mutex_);
    return log_;
  }

  Gate gate_;
  Mutex mutex_;
  std::vector<std::string> log_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(DecodePoolTest, DecodesEachInputOnceAndThenIsDoneOnce) {
  std::optional<DecodePool> pool(std::in_place, 1);
  pool->Add(Work("a", 3));
  EXPECT_THAT(Finish(pool), ElementsAre("a0", "a1", "a2", "a done"));
}

TEST_F(DecodePoolTest, TheEarliestDeadlineGoesFirstThenTheEarliestArrival) {
  std::optional<DecodePool> pool(std::in_place, 1);
  Occupy(*pool);
  pool->Add(Work("none", 1));
  pool->Add(Work("late", 1, Priority::kInteractive, At(2)));
  pool->Add(Work("soon", 1, Priority::kInteractive, At(1)));
  pool->Add(Work("soon too", 1, Priority::kInteractive, At(1)));
  EXPECT_THAT(Finish(pool),
              ElementsAre("first0", "first done", "soon0", "soon done", "soon too0",
                          "soon too done", "late0", "late done", "none0", "none done"));
}

TEST_F(DecodePoolTest, WhatIsMoreUrgentPassesALargeRequestThatHasBegun) {
  std::optional<DecodePool> pool(std::in_place, 1);
  gate_.Close();
  pool->Add(Work("large", 3, Priority::kInteractive, At(9)));
  gate_.WaitForArrivals(1);
  pool->Add(Work("small", 1, Priority::kInteractive, At(1)));
  EXPECT_THAT(Finish(pool),
              ElementsAre("large0", "small0", "small done", "large1", "large2", "large done"));
}

TEST_F(DecodePoolTest, InteractiveWorkPassesBulkWorkWhateverTheDeadlines) {
  std::optional<DecodePool> pool(std::in_place, 1);
  Occupy(*pool);
  pool->Add(Work("bulk", 2, Priority::kBulk, At(1)));
  pool->Add(Work("call", 2));
  EXPECT_THAT(Finish(pool), ElementsAre("first0", "first done", "call0", "call1", "call done",
                                        "bulk0", "bulk1", "bulk done"));
}

TEST_F(DecodePoolTest, BulkWorkGetsEveryEighthInputHoweverMuchInteractiveWorkThereIs) {
  std::optional<DecodePool> pool(std::in_place, 1);
  Occupy(*pool);
  pool->Add(Work("call", 20));
  pool->Add(Work("bulk", 2, Priority::kBulk));
  const std::vector<std::string> log = Finish(pool);
  const auto place = [&](const char* what) { return std::ranges::find(log, what) - log.begin(); };
  EXPECT_EQ(place("bulk0") - place("call0"), DecodePool::kInteractivePerBulk - 1);
  EXPECT_EQ(place("bulk1") - place("bulk0"), DecodePool::kInteractivePerBulk);
}

TEST_F(DecodePoolTest, WhatNobodyWaitsForAnyMoreLeavesAtOnceUndecoded) {
  std::optional<DecodePool> pool(std::in_place, 1);
  Occupy(*pool);
  DecodeWork gone = Work("gone", 1000, Priority::kInteractive, At(1));
  gone.wanted = [] { return false; };
  pool->Add(std::move(gone));
  pool->Add(Work("call", 1));
  EXPECT_THAT(Finish(pool), ElementsAre("first0", "first done", "gone done", "call0", "call done"));
}

TEST_F(DecodePoolTest, WorkThatIsGivenUpHalfwayIsDoneOnceItsLastInputIs) {
  std::optional<DecodePool> pool(std::in_place, 1);
  gate_.Close();
  std::atomic<bool> wanted{true};
  DecodeWork work = Work("half", 3);
  work.wanted = [&] { return wanted.load(); };
  pool->Add(std::move(work));
  gate_.WaitForArrivals(1);
  wanted = false;
  const DecodePool& counted = *pool;
  gate_.Open();
  while (counted.decoded() < 1) std::this_thread::yield();
  EXPECT_THAT(Finish(pool), ElementsAre("half0", "half done"));
}

TEST_F(DecodePoolTest, SeveralThreadsShareTheInputsOfARequest) {
  std::optional<DecodePool> pool(std::in_place, 2);
  gate_.Close();
  pool->Add(Work("a", 2));
  gate_.WaitForArrivals(2);  // both at one time
  EXPECT_THAT(Finish(pool), UnorderedElementsAre("a0", "a1", "a done"));
  MutexLock lock(mutex_);
  EXPECT_EQ(log_.back(), "a done");
}

TEST_F(DecodePoolTest, DoneMayFreeWhatDecodingUsed) {
  std::optional<DecodePool> pool(std::in_place, 2);
  auto used = std::make_unique<int>(0);
  DecodeWork work;
  work.inputs = 64;
  work.decode = [&used](int32_t) { ASSERT_NE(used, nullptr); };
  work.done = [&used] { used.reset(); };
  pool->Add(std::move(work));
  Finish(pool);
  EXPECT_EQ(used, nullptr);
}

}  // namespace
}  // namespace contextpool::engine
