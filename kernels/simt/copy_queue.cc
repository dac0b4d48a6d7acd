#include "kernels/simt/copy_queue.h"

namespace contextpool::kernels::simt {

void CopyQueue::Commit() {
  group_sizes_.push_back(copies_.size() - committed_);
  committed_ = copies_.size();
}

std::optional<Copy> CopyQueue::Next(size_t pending) {
  while (group_sizes_.size() > pending && group_sizes_.front() == 0) group_sizes_.pop_front();
  if (group_sizes_.size() <= pending) return std::nullopt;
  const Copy copy = copies_.front();
  copies_.pop_front();
  --group_sizes_.front();
  --committed_;
  return copy;
}

void CopyQueue::Clear() {
  copies_.clear();
  group_sizes_.clear();
  committed_ = 0;
}

}  // namespace contextpool::kernels::simt
