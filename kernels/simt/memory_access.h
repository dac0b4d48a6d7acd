// Checked and counted accesses of the running thread, untyped. The typed pointers of kernels
// (kernels/simt/device_memory.h) are thin covers of these.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/simt/site.h"

namespace contextpool::kernels::simt {

struct Thread;

// `elements` elements from number `first` of an array of `count`.
// REQUIRES: elements * element_bytes is a power of two.
struct ElementRange {
  std::byte* array;
  int64_t count;
  int64_t first;
  int elements;
  int element_bytes;

  std::byte* begin() const { return array + first * element_bytes; }
  int bytes() const { return elements * element_bytes; }
};

// Each returns where the elements are, or raises the fault.
const std::byte* LoadGlobal(const ElementRange& range, Site site);
std::byte* StoreGlobal(const ElementRange& range, Site site);
const std::byte* LoadShared(const ElementRange& range, Site site);
std::byte* StoreShared(const ElementRange& range, Site site);

// A row of 16 bytes for ldmatrix or stmatrix: checks its place, not whether it may be read yet.
void CheckRow(const ElementRange& row, Site site);
// Who accesses: a thread, or its whole warp in one instruction.
enum class By : uint8_t { kThread, kWarp };
// Raises a fault of `thread` if some bytes were never written, a copy to them is pending, or the
// load races with a store.
void CheckLoad(const Thread& thread, By by, const ElementRange& range, Site site);
// Raises a fault of `thread` if a copy is pending or the store races. Then the bytes may be read.
void CheckStore(const Thread& thread, By by, const ElementRange& range, Site site);

// cp.async of all of `to`; what `from` is shorter becomes zeros, and an empty `from` is not read.
void IssueCopy(const ElementRange& to, const ElementRange& from, Site site);
void CommitCopies();
void WaitForCopies(int pending_groups);

// The static array that `key` stands for, of this block.
std::byte* StaticShared(const void* key, size_t bytes, const char* name, Site site);
// `bytes` of the block's dynamic shared memory after the first `*used`, which it increases.
std::byte* TakeDynamicShared(size_t bytes, size_t alignment, size_t* used, Site site);

// `offset` and then `count` elements must lie in an array of `size`.
void CheckSlice(int64_t offset, int64_t count, int64_t size, Site site);

}  // namespace contextpool::kernels::simt
