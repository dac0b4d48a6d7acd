#include "engine/batching/schedule.h"

#include <algorithm>

namespace contextpool::engine {
namespace {

ScheduleNode* Leftmost(ScheduleNode* node) {
  while (node != nullptr && node->left.node != nullptr) node = node->left.node;
  return node;
}

// max() stays max().
TimePoint Before(TimePoint time, Duration work) {
  return time == TimePoint::max() ? time : time - work;
}

// Of the node and all left of it.
Duration WorkUntil(const ScheduleNode& node) { return node.left.work + node.work; }

TimePoint OwnLatestStart(const ScheduleNode& node, Duration until_here) {
  return node.promised ? Before(node.deadline, until_here) : TimePoint::max();
}

ScheduleLink LinkTo(ScheduleNode& node) {
  const Duration until_here = WorkUntil(node);
  TimePoint latest_start =
      std::min(node.left.latest_start, Before(node.right.latest_start, until_here));
  latest_start = std::min(latest_start, OwnLatestStart(node, until_here));
  return {&node, until_here + node.right.work, latest_start};
}

// Divides a tree into what stands before `node` and what stands after it.
void Split(ScheduleLink root, const ScheduleNode& node, ScheduleLink& before, ScheduleLink& after) {
  if (root.node == nullptr) {
    before = after = {};
  } else if (Earlier(*root.node, node)) {
    Split(root.node->right, node, root.node->right, after);
    before = LinkTo(*root.node);
  } else {
    Split(root.node->left, node, before, root.node->left);
    after = LinkTo(*root.node);
  }
}

ScheduleLink Merge(ScheduleLink before, ScheduleLink after) {
  if (before.node == nullptr) return after;
  if (after.node == nullptr) return before;
  if (before.node->rank > after.node->rank) {
    before.node->right = Merge(before.node->right, after);
    return LinkTo(*before.node);
  }
  after.node->left = Merge(before, after.node->left);
  return LinkTo(*after.node);
}

// The tightest of a tree before which `before` stands.
Schedule::Tightest TightestOf(const ScheduleLink& root, Duration before) {
  const TimePoint found = Before(root.latest_start, before);
  for (ScheduleNode* node = root.node; node != nullptr;) {
    const Duration until_here = before + WorkUntil(*node);
    if (OwnLatestStart(*node, until_here) == found) return {node, found};
    if (Before(node->left.latest_start, before) == found) {
      node = node->left.node;
    } else {
      before = until_here;
      node = node->right.node;
    }
  }
  return {};
}

}  // namespace

void Schedule::Insert(ScheduleNode& node) {
  // Marsaglia's xorshift.
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  node.rank = random_;
  Insert(root_, node);
  if (first_ == nullptr || Earlier(node, *first_)) first_ = &node;
}

void Schedule::Insert(ScheduleLink& root, ScheduleNode& node) {
  if (root.node == nullptr || node.rank > root.node->rank) {
    Split(root, node, node.left, node.right);
    root = LinkTo(node);
  } else {
    Insert(Earlier(node, *root.node) ? root.node->left : root.node->right, node);
    root = LinkTo(*root.node);
  }
}

void Schedule::Erase(ScheduleNode& node) {
  Erase(root_, node);
  if (first_ == &node) first_ = Leftmost(root_.node);
}

void Schedule::Erase(ScheduleLink& root, ScheduleNode& node) {
  if (root.node == &node) {
    root = Merge(node.left, node.right);
  } else {
    Erase(Earlier(node, *root.node) ? root.node->left : root.node->right, node);
    root = LinkTo(*root.node);
  }
}

void Schedule::SetWork(ScheduleNode& node, Duration work) {
  node.work = work;
  Refresh(root_, node);
}

void Schedule::Unpromise(ScheduleNode& node) {
  node.promised = false;
  Refresh(root_, node);
}

void Schedule::Refresh(ScheduleLink& root, const ScheduleNode& node) {
  if (root.node != &node) {
    Refresh(Earlier(node, *root.node) ? root.node->left : root.node->right, node);
  }
  root = LinkTo(*root.node);
}

Duration Schedule::WorkDueBy(TimePoint deadline) const {
  Duration work{};
  for (const ScheduleNode* node = root_.node; node != nullptr;) {
    if (node->deadline <= deadline) {
      work += WorkUntil(*node);
      node = node->right.node;
    } else {
      node = node->left.node;
    }
  }
  return work;
}

Schedule::Tightest Schedule::TightestAfter(TimePoint deadline) const {
  Tightest tightest;
  Duration before{};
  for (ScheduleNode* node = root_.node; node != nullptr;) {
    const Duration until_here = before + WorkUntil(*node);
    if (node->deadline <= deadline) {
      before = until_here;
      node = node->right.node;
      continue;
    }
    const TimePoint own = OwnLatestStart(*node, until_here);
    if (own < tightest.latest_start) tightest = {node, own};
    if (Before(node->right.latest_start, until_here) < tightest.latest_start) {
      tightest = TightestOf(node->right, until_here);
    }
    node = node->left.node;
  }
  return tightest;
}

}  // namespace contextpool::engine
