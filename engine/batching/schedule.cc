#include "engine/batching/schedule.h"

#include <algorithm>
#include <tuple>

namespace contextpool::engine {
namespace {

ScheduleNode* Leftmost(ScheduleNode* node) {
  while (node != nullptr && node->left != nullptr) node = node->left;
  return node;
}

// max() stays max().
TimePoint Before(TimePoint time, Duration work) {
  return time == TimePoint::max() ? time : time - work;
}

TimePoint OwnLatestStart(const ScheduleNode& node, Duration until_here) {
  return node.promised ? Before(node.deadline, until_here) : TimePoint::max();
}

}  // namespace

bool Earlier(const ScheduleNode& a, const ScheduleNode& b) {
  return std::tie(a.deadline, a.arrival) < std::tie(b.deadline, b.arrival);
}

void Schedule::Refresh(ScheduleNode& node) const {
  const Duration until_here = Sum(node.left) + node.work;
  node.sum_work = until_here + Sum(node.right);
  node.latest_start = OwnLatestStart(node, until_here);
  if (node.left != nullptr) {
    node.latest_start = std::min(node.latest_start, node.left->latest_start);
  }
  if (node.right != nullptr) {
    node.latest_start = std::min(node.latest_start, Before(node.right->latest_start, until_here));
  }
}

void Schedule::Insert(ScheduleNode& node) {
  // Marsaglia's xorshift.
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  node.rank = random_;
  node.left = node.right = nullptr;
  Insert(root_, node);
  if (first_ == nullptr || Earlier(node, *first_)) first_ = &node;
}

void Schedule::Insert(ScheduleNode*& root, ScheduleNode& node) {
  if (root == nullptr || node.rank > root->rank) {
    Split(root, node, node.left, node.right);
    root = &node;
  } else {
    Insert(Earlier(node, *root) ? root->left : root->right, node);
  }
  Refresh(*root);
}

void Schedule::Split(ScheduleNode* root, const ScheduleNode& node, ScheduleNode*& before,
                     ScheduleNode*& after) const {
  if (root == nullptr) {
    before = after = nullptr;
    return;
  }
  if (Earlier(*root, node)) {
    before = root;
    Split(root->right, node, before->right, after);
  } else {
    after = root;
    Split(root->left, node, before, after->left);
  }
  Refresh(*root);
}

ScheduleNode* Schedule::Merge(ScheduleNode* before, ScheduleNode* after) const {
  if (before == nullptr) return after;
  if (after == nullptr) return before;
  ScheduleNode* root = before;
  if (before->rank > after->rank) {
    before->right = Merge(before->right, after);
  } else {
    after->left = Merge(before, after->left);
    root = after;
  }
  Refresh(*root);
  return root;
}

void Schedule::Erase(ScheduleNode& node) {
  Erase(root_, node);
  if (first_ == &node) first_ = Leftmost(root_);
}

void Schedule::Erase(ScheduleNode*& root, ScheduleNode& node) {
  if (root == &node) {
    root = Merge(node.left, node.right);
    return;
  }
  Erase(Earlier(node, *root) ? root->left : root->right, node);
  Refresh(*root);
}

void Schedule::SetWork(ScheduleNode& node, Duration work) {
  node.work = work;
  RefreshPath(*root_, node);
}

void Schedule::Unpromise(ScheduleNode& node) {
  node.promised = false;
  RefreshPath(*root_, node);
}

void Schedule::RefreshPath(ScheduleNode& root, const ScheduleNode& node) const {
  if (&root != &node) RefreshPath(Earlier(node, root) ? *root.left : *root.right, node);
  Refresh(root);
}

Duration Schedule::WorkDueBy(TimePoint deadline) const {
  Duration work{};
  for (const ScheduleNode* node = root_; node != nullptr;) {
    if (node->deadline <= deadline) {
      work += Sum(node->left) + node->work;
      node = node->right;
    } else {
      node = node->left;
    }
  }
  return work;
}

Schedule::Tightest Schedule::TightestOf(ScheduleNode* root, Duration before) {
  const TimePoint found = Before(root->latest_start, before);
  for (ScheduleNode* node = root; node != nullptr;) {
    const Duration until_here = before + Sum(node->left) + node->work;
    if (OwnLatestStart(*node, until_here) == found) return {node, found};
    if (node->left != nullptr && Before(node->left->latest_start, before) == found) {
      node = node->left;
    } else {
      before = until_here;
      node = node->right;
    }
  }
  return {};
}

Schedule::Tightest Schedule::TightestAfter(TimePoint deadline) const {
  Tightest tightest;
  Duration before{};
  for (ScheduleNode* node = root_; node != nullptr;) {
    const Duration until_here = before + Sum(node->left) + node->work;
    if (node->deadline <= deadline) {
      before = until_here;
      node = node->right;
      continue;
    }
    const TimePoint own = OwnLatestStart(*node, until_here);
    if (own < tightest.latest_start) tightest = {node, own};
    if (node->right != nullptr &&
        Before(node->right->latest_start, until_here) < tightest.latest_start) {
      tightest = TightestOf(node->right, until_here);
    }
    node = node->left;
  }
  return tightest;
}

}  // namespace contextpool::engine
