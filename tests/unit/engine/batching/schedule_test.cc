#include "engine/batching/schedule.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::milliseconds;

constexpr TimePoint kBegin{std::chrono::hours(1)};

ScheduleNode Node(Duration due_in, Duration work, int64_t arrival = 0) {
  ScheduleNode node;
  node.deadline = kBegin + due_in;
  node.work = work;
  node.arrival = arrival;
  node.promised = true;
  return node;
}

TEST(ScheduleTest, AnEmptyScheduleHoldsNothing) {
  const Schedule schedule;
  EXPECT_TRUE(schedule.empty());
  EXPECT_EQ(schedule.first(), nullptr);
  EXPECT_EQ(schedule.work(), Duration::zero());
  EXPECT_EQ(schedule.WorkDueBy(TimePoint::max()), Duration::zero());
  EXPECT_EQ(schedule.TightestAfter(kBegin).entry, nullptr);
  EXPECT_EQ(schedule.TightestAfter(kBegin).latest_start, TimePoint::max());
}

TEST(ScheduleTest, TheEarliestDeadlineIsFirstAndTiesGoByArrival) {
  ScheduleNode late = Node(milliseconds(9), milliseconds(1), 0);
  ScheduleNode second = Node(milliseconds(5), milliseconds(1), 2);
  ScheduleNode first = Node(milliseconds(5), milliseconds(1), 1);
  Schedule schedule;
  for (ScheduleNode* node : {&late, &second, &first}) schedule.Insert(*node);
  for (ScheduleNode* node : {&first, &second, &late}) {
    EXPECT_EQ(schedule.first(), node);
    schedule.Erase(*node);
  }
  EXPECT_TRUE(schedule.empty());
}

TEST(ScheduleTest, WhatIsDueAtAMomentIsDueByIt) {
  ScheduleNode node = Node(milliseconds(5), milliseconds(7));
  Schedule schedule;
  schedule.Insert(node);
  EXPECT_EQ(schedule.WorkDueBy(node.deadline - Duration(1)), Duration::zero());
  EXPECT_EQ(schedule.WorkDueBy(node.deadline), milliseconds(7));
  EXPECT_EQ(schedule.TightestAfter(node.deadline).entry, nullptr);
  const Schedule::Tightest tightest = schedule.TightestAfter(node.deadline - Duration(1));
  EXPECT_EQ(tightest.entry, &node);
  EXPECT_EQ(tightest.latest_start, kBegin - milliseconds(2));
}

TEST(ScheduleTest, TheTightestPromiseSaysWhenToStart) {
  ScheduleNode easy = Node(milliseconds(50), milliseconds(10));
  ScheduleNode tight = Node(milliseconds(60), milliseconds(45));
  ScheduleNode later = Node(milliseconds(900), milliseconds(10));
  Schedule schedule;
  for (ScheduleNode* node : {&easy, &tight, &later}) schedule.Insert(*node);
  EXPECT_EQ(schedule.TightestAfter(kBegin).entry, &tight);
  EXPECT_EQ(schedule.TightestAfter(kBegin).latest_start, kBegin + milliseconds(5));
  schedule.SetWork(tight, milliseconds(20));
  EXPECT_EQ(schedule.TightestAfter(kBegin).latest_start, kBegin + milliseconds(30));
  EXPECT_EQ(schedule.work(), milliseconds(40));
}

TEST(ScheduleTest, WhatIsNotPromisedHurriesNobodyButStandsBeforeWhatIs) {
  ScheduleNode unpromised = Node(milliseconds(50), milliseconds(45));
  ScheduleNode promised = Node(milliseconds(100), milliseconds(10));
  unpromised.promised = false;
  Schedule schedule;
  for (ScheduleNode* node : {&unpromised, &promised}) schedule.Insert(*node);
  EXPECT_EQ(schedule.TightestAfter(kBegin).entry, &promised);
  EXPECT_EQ(schedule.TightestAfter(kBegin).latest_start, kBegin + milliseconds(45));
  schedule.Unpromise(promised);
  EXPECT_EQ(schedule.TightestAfter(kBegin).entry, nullptr);
  EXPECT_EQ(schedule.work(), milliseconds(55));
}

TEST(ScheduleTest, EntriesWithoutADeadlineNeverHurry) {
  ScheduleNode node;
  node.work = std::chrono::hours(1);
  node.promised = true;
  Schedule schedule;
  schedule.Insert(node);
  EXPECT_EQ(schedule.TightestAfter(kBegin).entry, nullptr);
}

// The same as Schedule, by a sorted vector.
class SlowSchedule {
 public:
  void Insert(const ScheduleNode* node) {
    nodes_.insert(std::upper_bound(nodes_.begin(), nodes_.end(), node, Before), node);
  }
  void Erase(const ScheduleNode* node) { std::erase(nodes_, node); }

  const std::vector<const ScheduleNode*>& nodes() const { return nodes_; }

  Duration WorkDueBy(TimePoint deadline) const {
    Duration work{};
    for (const ScheduleNode* node : nodes_) {
      if (node->deadline <= deadline) work += node->work;
    }
    return work;
  }
  // By when work must begin, for each promise that is due after `deadline`.
  std::map<const ScheduleNode*, TimePoint> LatestStartsAfter(TimePoint deadline) const {
    std::map<const ScheduleNode*, TimePoint> starts;
    Duration work{};
    for (const ScheduleNode* node : nodes_) {
      work += node->work;
      if (node->promised && node->deadline > deadline) starts[node] = node->deadline - work;
    }
    return starts;
  }

 private:
  static bool Before(const ScheduleNode* a, const ScheduleNode* b) {
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->arrival < b->arrival;
  }
  std::vector<const ScheduleNode*> nodes_;
};

class RandomSchedule {
 public:
  explicit RandomSchedule(unsigned seed) : random_(seed) {}

  void Change() {
    const int choice = Below(20);
    if (choice < 9 || slow_.nodes().empty()) {
      ScheduleNode& node = nodes_.emplace_back(Node(SomeTime(), SomeWork(), arrivals_++));
      node.promised = Below(3) > 0;
      schedule_.Insert(node);
      slow_.Insert(&node);
    } else if (choice < 17) {
      ScheduleNode& node = Any();
      schedule_.Erase(node);
      slow_.Erase(&node);
    } else if (choice < 19) {
      schedule_.SetWork(Any(), SomeWork());
    } else {
      schedule_.Unpromise(Any());
    }
  }

  void ExpectEqual() {
    ASSERT_EQ(schedule_.empty(), slow_.nodes().empty());
    ASSERT_EQ(schedule_.first(), slow_.nodes().empty() ? nullptr : slow_.nodes().front());
    ASSERT_EQ(schedule_.work(), slow_.WorkDueBy(TimePoint::max()));
    const TimePoint deadline = kBegin + SomeTime();
    ASSERT_EQ(schedule_.WorkDueBy(deadline), slow_.WorkDueBy(deadline));
    const Schedule::Tightest tightest = schedule_.TightestAfter(deadline);
    const auto starts = slow_.LatestStartsAfter(deadline);
    ASSERT_EQ(tightest.entry == nullptr, starts.empty());
    if (starts.empty()) return;
    // Of several that are as tight any will do.
    ASSERT_EQ(starts.at(tightest.entry), tightest.latest_start);
    for (const auto& [entry, start] : starts) ASSERT_LE(tightest.latest_start, start);
  }

  void ExpectSameOrderToTheEnd() {
    while (!schedule_.empty()) {
      const ScheduleNode* const first = slow_.nodes().front();
      ASSERT_EQ(schedule_.first(), first);
      schedule_.Erase(*schedule_.first());
      slow_.Erase(first);
    }
    ASSERT_TRUE(slow_.nodes().empty());
  }

 private:
  int Below(int bound) { return static_cast<int>(random_() % bound); }
  // Few moments, so that many deadlines are the same.
  Duration SomeTime() { return milliseconds(Below(40)); }
  Duration SomeWork() { return std::chrono::microseconds(Below(5000)); }
  ScheduleNode& Any() {
    return const_cast<ScheduleNode&>(*slow_.nodes()[Below(static_cast<int>(slow_.nodes().size()))]);
  }

  std::mt19937 random_;
  Schedule schedule_;
  SlowSchedule slow_;
  std::deque<ScheduleNode> nodes_;
  int64_t arrivals_ = 0;
};

TEST(ScheduleTest, AgreesWithASortedVectorAfterRandomChanges) {
  for (const unsigned seed : {1, 2, 3, 4, 5}) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomSchedule schedule(seed);
    for (int i = 0; i < 5000 && !::testing::Test::HasFatalFailure(); ++i) {
      schedule.Change();
      schedule.ExpectEqual();
    }
    schedule.ExpectSameOrderToTheEnd();
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(ScheduleTest, AHundredThousandEntriesInOrderDoNotMakeADeepTree) {
  // Each operation recurses as deep as the tree is.
  std::vector<ScheduleNode> nodes(100000);
  Schedule schedule;
  for (size_t i = 0; i < nodes.size(); ++i) {
    nodes[i].arrival = static_cast<int64_t>(i);
    nodes[i].work = Duration(1);
    schedule.Insert(nodes[i]);
  }
  EXPECT_EQ(schedule.work(), Duration(100000));
  for (ScheduleNode& node : nodes) {
    ASSERT_EQ(schedule.first(), &node);
    schedule.Erase(node);
  }
}

}  // namespace
}  // namespace contextpool::engine
