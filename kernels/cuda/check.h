// What launchers of kernels ask of their parameters.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace contextpool::kernels {

// Bytes of the widest access of a thread.
constexpr int kVectorBytes = 16;

// Null pointers are aligned.
inline bool AreVectorAligned(std::initializer_list<const void*> pointers) {
  for (const void* pointer : pointers) {
    if (reinterpret_cast<uintptr_t>(pointer) % kVectorBytes != 0) return false;
  }
  return true;
}

inline bool AreMultiplesOf(int64_t unit, std::initializer_list<int64_t> numbers) {
  for (const int64_t number : numbers) {
    if (number % unit != 0) return false;
  }
  return true;
}

// Blocks for `items`, `per_block` each. REQUIRES: fewer than 2^31 result.
inline uint32_t BlocksFor(int64_t items, int64_t per_block) {
  return static_cast<uint32_t>((items + per_block - 1) / per_block);
}

}  // namespace contextpool::kernels
