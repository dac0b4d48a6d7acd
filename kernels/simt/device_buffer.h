// Global memory for a test of a kernel.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/simt/memory_regions.h"

namespace contextpool::kernels::simt {

// `count` elements, aligned as cudaMalloc does; each byte starts as 0xff, which is NaN in every
// floating-point type.
template <typename T>
class DeviceBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit DeviceBuffer(size_t count, std::string name = "buffer")
      : count_(count),
        data_(static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{kAlignment}))),
        memory_(data_.get(), count * sizeof(T), std::move(name)) {
    std::memset(static_cast<void*>(data_.get()), 0xff, count * sizeof(T));
  }

  explicit DeviceBuffer(const std::vector<T>& values, std::string name = "buffer")
      : DeviceBuffer(values.size(), std::move(name)) {
    // An empty vector's data may be null, which memcpy does not take.
    if (count_ > 0) std::memcpy(static_cast<void*>(data_.get()), values.data(), count_ * sizeof(T));
  }

  T* data() { return data_.get(); }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data_.get()[i]; }
  std::vector<T> ToHost() const { return {data_.get(), data_.get() + count_}; }

 private:
  static constexpr size_t kAlignment = 256;
  struct Free {
    void operator()(T* data) const { ::operator delete (data, std::align_val_t{kAlignment}); }
  };

  size_t count_;
  std::unique_ptr<T, Free> data_;
  RegisteredMemory memory_;
};

}  // namespace contextpool::kernels::simt
