#include "engine/device/pinned_memory.h"

#include <algorithm>

#include "engine/device/arena.h"

namespace contextpool::engine {
namespace {

constexpr size_t kFirstBlock = size_t{1} << 16;

}  // namespace

PinnedMemory::~PinnedMemory() {
  for (const Block& block : blocks_) runtime_.FreeHost(block.data);
}

absl::StatusOr<char*> PinnedMemory::Take(size_t bytes) {
  const size_t padded = Arena::Padded(bytes);
  if (blocks_.empty() || blocks_.back().size - used_ < padded) {
    const size_t size = std::max(padded, blocks_.empty() ? kFirstBlock : 2 * blocks_.back().size);
    blocks_.reserve(blocks_.size() + 1);  // may throw, and then there is nothing to free
    const absl::StatusOr<void*> data = runtime_.AllocateHost(size);
    if (!data.ok()) return data.status();
    blocks_.push_back({static_cast<char*>(*data), size});
    used_ = 0;
  }
  char* taken = blocks_.back().data + used_;
  used_ += padded;
  return taken;
}

bool PinnedMemory::Reset() {
  used_ = 0;
  if (blocks_.size() <= 1) return false;
  for (auto block = blocks_.begin(); block + 1 != blocks_.end(); ++block) {
    runtime_.FreeHost(block->data);
  }
  blocks_.erase(blocks_.begin(), blocks_.end() - 1);
  return true;
}

}  // namespace contextpool::engine
