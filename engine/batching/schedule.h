// Waiting work of one class in the order of its deadlines, which knows what stands before any
// moment.
//
// A treap: a search tree by (deadline, arrival) and at the same time a heap by random rank, so that
// every operation takes O(log n) expected time and allocates nothing. Each node sums up its
// subtree:
//
//   tokens        T = sum of the entries' tokens
//   latest start  L = min over entries i of  deadline_i - c * (tokens of all entries up to i)
//
// where c is the time that one token takes. Work that begins by L and is done in order is done in
// time. Both combine from children, L because the entries right of a node wait for all left of it.
#pragma once

#include <cstdint>

#include "engine/base/clock.h"

namespace contextpool::engine {

// An entry, kept by its owner. Only the schedule that holds it may change it.
struct ScheduleNode {
  TimePoint deadline = TimePoint::max();
  int64_t arrival = 0;  // breaks ties: first in, first out
  int64_t tokens = 0;

  // The schedule's own.
  uint32_t rank = 0;
  ScheduleNode* left = nullptr;
  ScheduleNode* right = nullptr;
  int64_t sum_tokens = 0;
  TimePoint latest_start = TimePoint::max();
};

// Whether `a` is to be served before `b`.
bool Earlier(const ScheduleNode& a, const ScheduleNode& b);

// Not thread safe. Entries must be erased before they end.
class Schedule {
 public:
  bool empty() const { return root_ == nullptr; }

  // The entry with the earliest deadline; null if there is none.
  ScheduleNode* first() const { return first_; }

  void Insert(ScheduleNode& node);
  void Erase(ScheduleNode& node);
  // REQUIRES: `node` is in this schedule.
  void SetTokens(ScheduleNode& node, int64_t tokens);

  int64_t tokens() const { return Sum(root_); }
  // Of the entries that are due at `deadline` or before.
  int64_t TokensDueBy(TimePoint deadline) const;

  // By when work must begin so that all entries that are due after `deadline` are done in time;
  // max() if there are none. What is due before them is done before them.
  TimePoint LatestStartAfter(TimePoint deadline) const;

  // Takes O(n).
  void SetTimePerToken(double nanoseconds);
  double ns_per_token() const { return ns_per_token_; }
  // How long so many tokens take.
  Duration Work(int64_t tokens) const;

 private:
  static int64_t Sum(const ScheduleNode* node) { return node == nullptr ? 0 : node->sum_tokens; }

  void Refresh(ScheduleNode& node) const;
  void RefreshAll(ScheduleNode* node) const;
  void Insert(ScheduleNode*& root, ScheduleNode& node);
  void Erase(ScheduleNode*& root, ScheduleNode& node);
  void RefreshPath(ScheduleNode& root, const ScheduleNode& node) const;
  // Divides a tree into what stands before `node` and what stands after it.
  void Split(ScheduleNode* root, const ScheduleNode& node, ScheduleNode*& before,
             ScheduleNode*& after) const;
  ScheduleNode* Merge(ScheduleNode* before, ScheduleNode* after) const;

  ScheduleNode* root_ = nullptr;
  ScheduleNode* first_ = nullptr;
  double ns_per_token_ = 0;
  uint32_t random_ = 0x9E3779B9;
};

}  // namespace contextpool::engine
