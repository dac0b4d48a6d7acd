// The shared memory of one block: its bytes, and for each byte whether it may be read yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace contextpool::kernels::simt {

enum class ByteState : uint8_t {
  kPoisoned,
  kWritten,
  // A cp.async writes here and has not been waited for.
  kCopyPending,
};

class SharedMemory {
 public:
  // What CUDA allows for arrays of fixed size.
  static constexpr size_t kStaticLimit = 48 * 1024;

  // REQUIRES: dynamic_bytes <= limit_bytes, which bounds all arrays together.
  SharedMemory(size_t dynamic_bytes, size_t limit_bytes);

  // Before each block: all bytes are 0xff, which is NaN in every floating-point type. Static arrays
  // keep their places.
  void Poison();

  // The array that `key` stands for, allocated when it is first asked for. Null if it does not fit.
  std::byte* Static(const void* key, size_t bytes);

  std::span<std::byte> dynamic() { return {data_.get(), dynamic_bytes_}; }

  // Offset from the start of the block's shared memory: bank = offset / 4 % 32.
  size_t Offset(const void* address) const {
    return static_cast<size_t>(static_cast<const std::byte*>(address) - data_.get());
  }

  // kWritten only if all bytes are.
  ByteState StateOf(const void* address, size_t bytes) const;
  bool HasPendingCopy(const void* address, size_t bytes) const;
  void SetState(const void* address, size_t bytes, ByteState state);

  // A cp.async to `address` was issued: poisons the bytes until FinishCopy writes them.
  void BeginCopy(void* address, size_t bytes);
  // `source_bytes` of `source`, then zeros.
  void FinishCopy(void* address, size_t bytes, const void* source, size_t source_bytes);

 private:
  struct StaticArray {
    const void* key;
    size_t offset;
  };
  struct Free {
    void operator()(std::byte* data) const;
  };

  // As on a GPU, no array starts at a stricter alignment than this by chance.
  static constexpr size_t kBaseAlignment = 1024;

  size_t dynamic_bytes_;
  // Where static arrays start: after the dynamic memory.
  size_t static_begin_;
  size_t used_bytes_;
  size_t end_;
  std::unique_ptr<std::byte, Free> data_;
  std::vector<ByteState> states_;
  std::vector<StaticArray> arrays_;
};

}  // namespace contextpool::kernels::simt
