#include "engine/batching/schedule.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::milliseconds;

constexpr TimePoint kBegin{std::chrono::hours(1)};

ScheduleNode Node(Duration due_in, int64_t tokens, int64_t arrival = 0) {
  ScheduleNode node;
  node.deadline = kBegin + due_in;
  node.tokens = tokens;
  node.arrival = arrival;
  return node;
}

TEST(ScheduleTest, AnEmptyScheduleHoldsNothing) {
  const Schedule schedule;
  EXPECT_TRUE(schedule.empty());
  EXPECT_EQ(schedule.first(), nullptr);
  EXPECT_EQ(schedule.tokens(), 0);
  EXPECT_EQ(schedule.TokensDueBy(TimePoint::max()), 0);
  EXPECT_EQ(schedule.LatestStartAfter(kBegin), TimePoint::max());
}

TEST(ScheduleTest, TheEarliestDeadlineIsFirstAndTiesGoByArrival) {
  ScheduleNode late = Node(milliseconds(9), 1, 0);
  ScheduleNode second = Node(milliseconds(5), 1, 2);
  ScheduleNode first = Node(milliseconds(5), 1, 1);
  Schedule schedule;
  for (ScheduleNode* node : {&late, &second, &first}) schedule.Insert(*node);
  for (ScheduleNode* node : {&first, &second, &late}) {
    EXPECT_EQ(schedule.first(), node);
    schedule.Erase(*node);
  }
  EXPECT_TRUE(schedule.empty());
}

TEST(ScheduleTest, WhatIsDueAtAMomentIsDueByIt) {
  ScheduleNode node = Node(milliseconds(5), 7);
  Schedule schedule;
  schedule.Insert(node);
  EXPECT_EQ(schedule.TokensDueBy(node.deadline - Duration(1)), 0);
  EXPECT_EQ(schedule.TokensDueBy(node.deadline), 7);
  EXPECT_EQ(schedule.LatestStartAfter(node.deadline), TimePoint::max());
  schedule.SetTimePerToken(1e6);
  EXPECT_EQ(schedule.LatestStartAfter(node.deadline - Duration(1)), kBegin - milliseconds(2));
}

TEST(ScheduleTest, TheTightestEntrySaysWhenToStart) {
  ScheduleNode easy = Node(milliseconds(50), 10);
  ScheduleNode tight = Node(milliseconds(60), 45);
  ScheduleNode later = Node(milliseconds(900), 10);
  Schedule schedule;
  schedule.SetTimePerToken(1e6);
  for (ScheduleNode* node : {&easy, &tight, &later}) schedule.Insert(*node);
  EXPECT_EQ(schedule.LatestStartAfter(kBegin), kBegin + milliseconds(5));
  schedule.SetTokens(tight, 20);
  EXPECT_EQ(schedule.LatestStartAfter(kBegin), kBegin + milliseconds(30));
  EXPECT_EQ(schedule.tokens(), 40);
}

TEST(ScheduleTest, EntriesWithoutADeadlineNeverHurry) {
  ScheduleNode node;
  node.tokens = 1000;
  Schedule schedule;
  schedule.SetTimePerToken(1e6);
  schedule.Insert(node);
  EXPECT_GT(schedule.LatestStartAfter(kBegin), kBegin + std::chrono::hours(24 * 365));
}

// The same as Schedule, by a sorted vector.
class SlowSchedule {
 public:
  void Insert(const ScheduleNode* node) {
    nodes_.insert(std::upper_bound(nodes_.begin(), nodes_.end(), node, Before), node);
  }
  void Erase(const ScheduleNode* node) { std::erase(nodes_, node); }

  const std::vector<const ScheduleNode*>& nodes() const { return nodes_; }

  int64_t TokensDueBy(TimePoint deadline) const {
    int64_t tokens = 0;
    for (const ScheduleNode* node : nodes_) {
      if (node->deadline <= deadline) tokens += node->tokens;
    }
    return tokens;
  }
  TimePoint LatestStartAfter(TimePoint deadline, int64_t ns_per_token) const {
    TimePoint latest = TimePoint::max();
    int64_t tokens = 0;
    for (const ScheduleNode* node : nodes_) {
      tokens += node->tokens;
      if (node->deadline <= deadline) continue;
      latest = std::min(latest, node->deadline - Duration(ns_per_token * tokens));
    }
    return latest;
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
      ScheduleNode& node = nodes_.emplace_back(Node(SomeTime(), Below(50), arrivals_++));
      schedule_.Insert(node);
      slow_.Insert(&node);
    } else if (choice < 17) {
      ScheduleNode& node = Any();
      schedule_.Erase(node);
      slow_.Erase(&node);
    } else if (choice < 19) {
      ScheduleNode& node = Any();
      schedule_.SetTokens(node, Below(50));
    } else {
      ns_per_token_ = Below(2000) * 1000;
      schedule_.SetTimePerToken(static_cast<double>(ns_per_token_));
    }
  }

  void ExpectEqual() {
    ASSERT_EQ(schedule_.empty(), slow_.nodes().empty());
    ASSERT_EQ(schedule_.first(), slow_.nodes().empty() ? nullptr : slow_.nodes().front());
    ASSERT_EQ(schedule_.tokens(), slow_.TokensDueBy(TimePoint::max()));
    const TimePoint deadline = kBegin + SomeTime();
    ASSERT_EQ(schedule_.TokensDueBy(deadline), slow_.TokensDueBy(deadline));
    ASSERT_EQ(schedule_.LatestStartAfter(deadline),
              slow_.LatestStartAfter(deadline, ns_per_token_));
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
  ScheduleNode& Any() {
    return const_cast<ScheduleNode&>(*slow_.nodes()[Below(static_cast<int>(slow_.nodes().size()))]);
  }

  std::mt19937 random_;
  Schedule schedule_;
  SlowSchedule slow_;
  std::deque<ScheduleNode> nodes_;
  int64_t arrivals_ = 0;
  int64_t ns_per_token_ = 0;
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
    nodes[i].tokens = 1;
    schedule.Insert(nodes[i]);
  }
  EXPECT_EQ(schedule.tokens(), 100000);
  for (ScheduleNode& node : nodes) {
    ASSERT_EQ(schedule.first(), &node);
    schedule.Erase(node);
  }
}

}  // namespace
}  // namespace contextpool::engine
