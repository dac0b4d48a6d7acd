// The cp.async copies of one thread: issued, gathered into groups, done when their group is waited
// for and not before.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>

namespace contextpool::kernels::simt {

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
  // The rest is filled with zeros.
  size_t source_bytes;
};

class CopyQueue {
 public:
  void Issue(const Copy& copy) { copies_.push_back(copy); }
  void Commit();
  // Takes out the oldest copy while more than `pending` groups are left.
  std::optional<Copy> Next(size_t pending);
  // The thread is over: what nobody waited for is forgotten.
  void Clear();

 private:
  // Oldest first; the first `committed_` belong to groups.
  std::deque<Copy> copies_;
  std::deque<size_t> group_sizes_;
  size_t committed_ = 0;
};

}  // namespace contextpool::kernels::simt
