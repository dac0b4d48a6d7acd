#include "kernels/simt/copy_queue.h"

#include "kernels/simt/shared_memory.h"

namespace contextpool::kernels::simt {

void CopyQueue::Commit() {
  group_sizes_.push_back(copies_.size() - committed_);
  committed_ = copies_.size();
}

void CopyQueue::Wait(size_t pending, SharedMemory& memory) {
  for (; group_sizes_.size() > pending; group_sizes_.pop_front()) {
    for (size_t left = group_sizes_.front(); left > 0; --left) {
      const Copy& copy = copies_.front();
      memory.FinishCopy(copy.to, copy.bytes, copy.from, copy.source_bytes);
      copies_.pop_front();
      --committed_;
    }
  }
}

void CopyQueue::Clear() {
  copies_.clear();
  group_sizes_.clear();
  committed_ = 0;
}

}  // namespace contextpool::kernels::simt
