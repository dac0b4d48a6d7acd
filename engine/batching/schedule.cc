#include "engine/batching/schedule.h"

#include <algorithm>
#include <tuple>

namespace contextpool::engine {
namespace {

ScheduleNode* Leftmost(ScheduleNode* node) {
  while (node != nullptr && node->left != nullptr) node = node->left;
  return node;
}

}  // namespace

bool Earlier(const ScheduleNode& a, const ScheduleNode& b) {
  return std::tie(a.deadline, a.arrival) < std::tie(b.deadline, b.arrival);
}

Duration Schedule::Work(int64_t tokens) const {
  return Duration(static_cast<int64_t>(ns_per_token_ * static_cast<double>(tokens)));
}

void Schedule::Refresh(ScheduleNode& node) const {
  const int64_t until_here = Sum(node.left) + node.tokens;
  node.sum_tokens = until_here + Sum(node.right);
  node.latest_start = node.deadline - Work(until_here);
  if (node.left != nullptr) {
    node.latest_start = std::min(node.latest_start, node.left->latest_start);
  }
  if (node.right != nullptr) {
    node.latest_start = std::min(node.latest_start, node.right->latest_start - Work(until_here));
  }
}

void Schedule::RefreshAll(ScheduleNode* node) const {
  if (node == nullptr) return;
  RefreshAll(node->left);
  RefreshAll(node->right);
  Refresh(*node);
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

void Schedule::SetTokens(ScheduleNode& node, int64_t tokens) {
  node.tokens = tokens;
  RefreshPath(*root_, node);
}

void Schedule::RefreshPath(ScheduleNode& root, const ScheduleNode& node) const {
  if (&root != &node) RefreshPath(Earlier(node, root) ? *root.left : *root.right, node);
  Refresh(root);
}

int64_t Schedule::TokensDueBy(TimePoint deadline) const {
  if (deadline == TimePoint::max()) return tokens();
  int64_t tokens = 0;
  for (const ScheduleNode* node = root_; node != nullptr;) {
    if (node->deadline <= deadline) {
      tokens += Sum(node->left) + node->tokens;
      node = node->right;
    } else {
      node = node->left;
    }
  }
  return tokens;
}

TimePoint Schedule::LatestStartAfter(TimePoint deadline) const {
  TimePoint latest = TimePoint::max();
  int64_t before = 0;
  for (const ScheduleNode* node = root_; node != nullptr;) {
    const int64_t until_here = before + Sum(node->left) + node->tokens;
    if (node->deadline <= deadline) {
      before = until_here;
      node = node->right;
      continue;
    }
    latest = std::min(latest, node->deadline - Work(until_here));
    if (node->right != nullptr) {
      latest = std::min(latest, node->right->latest_start - Work(until_here));
    }
    node = node->left;
  }
  return latest;
}

void Schedule::SetTimePerToken(double nanoseconds) {
  ns_per_token_ = nanoseconds;
  RefreshAll(root_);
}

}  // namespace contextpool::engine
