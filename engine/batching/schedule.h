// Waiting work in the order of its deadlines, which knows what stands before any moment.
//
// A treap: a search tree by (deadline, arrival) and at the same time a heap by random rank, so that
// every operation takes O(log n) expected time and allocates nothing. Each link sums up the subtree
// that hangs on it, so that to sum up a node touches no other:
//
//   work          W = sum of the entries' times
//   latest start  L = min over entries i that are promised of  deadline_i - (times of all up to i)
//
// Work that begins by L and is done in order keeps all promises. Both combine from children, L
// because the entries right of a node wait for all left of it.
#pragma once

#include <cstdint>

#include "engine/base/clock.h"

namespace contextpool::engine {

struct ScheduleNode;

// A subtree and its sums.
struct ScheduleLink {
  ScheduleNode* node = nullptr;
  Duration work{};
  TimePoint latest_start = TimePoint::max();
};

// An entry, kept by its owner. Only the schedule that holds it may change it.
struct ScheduleNode {
  TimePoint deadline = TimePoint::max();
  int64_t arrival = 0;  // breaks ties: first in, first out
  Duration work{};      // time that it takes
  bool promised = false;

  // The schedule's own.
  uint32_t rank = 0;
  ScheduleLink left;
  ScheduleLink right;
};

// Whether `a` is to be served before `b`. Without branches, which none could predict.
inline bool Earlier(const ScheduleNode& a, const ScheduleNode& b) {
  const int before = a.deadline < b.deadline;
  const int tied = a.deadline == b.deadline;
  return (before | (tied & static_cast<int>(a.arrival < b.arrival))) != 0;
}

// Not thread safe. Entries must be erased before they end.
class Schedule {
 public:
  bool empty() const { return root_.node == nullptr; }

  // The entry with the earliest deadline; null if there is none.
  ScheduleNode* first() const { return first_; }

  void Insert(ScheduleNode& node);
  void Erase(ScheduleNode& node);
  // Both REQUIRE: `node` is in this schedule.
  void SetWork(ScheduleNode& node, Duration work);
  void Unpromise(ScheduleNode& node);

  Duration work() const { return root_.work; }
  // Of the entries that are due at `deadline` or before.
  Duration WorkDueBy(TimePoint deadline) const;

  // The promise that leaves the least time.
  struct Tightest {
    ScheduleNode* entry = nullptr;
    // By when work must begin to keep it. What is due before it is done before it.
    TimePoint latest_start = TimePoint::max();
  };
  // Of the entries that are due after `deadline`; null if none of them is promised.
  Tightest TightestAfter(TimePoint deadline) const;

 private:
  void Insert(ScheduleLink& root, ScheduleNode& node);
  void Erase(ScheduleLink& root, ScheduleNode& node);
  // Sums up anew what holds the node.
  void Refresh(ScheduleLink& root, const ScheduleNode& node);

  ScheduleLink root_;
  ScheduleNode* first_ = nullptr;
  uint32_t random_ = 0x9E3779B9;
};

}  // namespace contextpool::engine
