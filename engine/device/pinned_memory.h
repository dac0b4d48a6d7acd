// Page-locked memory of the host for one pass: handed out by moving a pointer, taken back at once.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/device/gpu_runtime.h"

namespace contextpool::engine {

// Grows until it holds a pass, and then allocates no more. Not thread safe.
class PinnedMemory {
 public:
  // `runtime` must outlive it.
  explicit PinnedMemory(GpuRuntime& runtime) : runtime_(runtime) {}
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  // Aligned to Arena::kAlignment; what is taken next is behind it, if both are in one piece of
  // memory. RESOURCE_EXHAUSTED if there is not so much.
  absl::StatusOr<char*> Take(size_t bytes);

  // Everything taken becomes invalid. REQUIRES: nothing queued uses it. Returns whether memory was
  // freed.
  bool Reset();

 private:
  struct Block {
    char* data = nullptr;
    size_t size = 0;
  };

  GpuRuntime& runtime_;
  // Larger and larger; all but the last are full.
  std::vector<Block> blocks_;
  size_t used_ = 0;  // of the last
};

}  // namespace contextpool::engine
