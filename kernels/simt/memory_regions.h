// The global memory that exists: registered by its owners, looked up by running kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace contextpool::kernels::simt {

struct Region {
  uintptr_t begin = 0;
  size_t bytes = 0;
  std::string name;
};

// Sorted by address; regions do not overlap.
using Regions = std::vector<Region>;

// Registers memory as long as it lives. Thread-safe. A launch sees what is registered when it
// starts.
class RegisteredMemory {
 public:
  // REQUIRES: overlaps no other registered memory.
  RegisteredMemory(const void* data, size_t bytes, std::string name);
  ~RegisteredMemory();
  RegisteredMemory(const RegisteredMemory&) = delete;
  RegisteredMemory& operator=(const RegisteredMemory&) = delete;

 private:
  const uintptr_t begin_;
};

std::shared_ptr<const Regions> CurrentRegions();

// The region that holds all of [address, address + bytes), or null.
const Region* FindRegion(const Regions& regions, uintptr_t address, size_t bytes);

}  // namespace contextpool::kernels::simt
