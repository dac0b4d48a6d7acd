// Global and shared memory of kernels on a GPU: plain pointers, whose sizes are forgotten.
// See kernels/cuda/primitives.cuh.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/vec.cuh"

namespace contextpool::kernels::cuda {

template <typename T>
class Global {
 public:
  using Value = std::remove_const_t<T>;

  Global() = default;
  SIMT_HOST_DEVICE Global(T* data, int64_t /*count*/) : data_(data) {}
  template <typename U, typename = std::enable_if_t<std::is_same_v<const U, T>>>
  SIMT_HOST_DEVICE Global(const Global<U>& other) : data_(other.data_) {}
  SIMT_HOST_DEVICE explicit operator bool() const { return data_ != nullptr; }

  SIMT_DEVICE Value Load(int64_t i) const { return data_[i]; }
  template <int N>
  SIMT_DEVICE Vec<Value, N> LoadVec(int64_t i) const {
    return *reinterpret_cast<const Vec<Value, N>*>(data_ + i);
  }
  SIMT_DEVICE void Store(int64_t i, Value value) const { data_[i] = value; }
  template <int N>
  SIMT_DEVICE void StoreVec(int64_t i, const Vec<Value, N>& value) const {
    *reinterpret_cast<Vec<Value, N>*>(data_ + i) = value;
  }
  SIMT_DEVICE void AtomicAdd(int64_t i, Value value) const {
    static_assert(std::is_same_v<T, int64_t>);
    // Two's complement: the sum has the same bits.
    atomicAdd(reinterpret_cast<unsigned long long*>(data_ + i),
              static_cast<unsigned long long>(value));
  }
  SIMT_DEVICE Global Slice(int64_t first, int64_t count) const { return {data_ + first, count}; }

  SIMT_DEVICE const T* Address(int64_t i) const { return data_ + i; }

 private:
  template <typename U>
  friend class Global;

  T* data_ = nullptr;
};

template <typename T>
class Shared {
 public:
  using Value = std::remove_const_t<T>;

  Shared() = default;
  SIMT_DEVICE Shared(T* data, int /*count*/) : data_(data) {}
  template <typename U, typename = std::enable_if_t<std::is_same_v<const U, T>>>
  SIMT_DEVICE Shared(const Shared<U>& other) : data_(other.data_) {}

  SIMT_DEVICE Value Load(int i) const { return data_[i]; }
  template <int N>
  SIMT_DEVICE Vec<Value, N> LoadVec(int i) const {
    return *reinterpret_cast<const Vec<Value, N>*>(data_ + i);
  }
  SIMT_DEVICE void Store(int i, Value value) const { data_[i] = value; }
  template <int N>
  SIMT_DEVICE void StoreVec(int i, const Vec<Value, N>& value) const {
    *reinterpret_cast<Vec<Value, N>*>(data_ + i) = value;
  }
  SIMT_DEVICE Shared Slice(int first, int count) const { return {data_ + first, count}; }
  template <typename U>
  SIMT_DEVICE Shared<U> As() const {
    return {reinterpret_cast<U*>(data_), 0};
  }

  // What PTX takes for an address in shared memory.
  SIMT_DEVICE uint32_t Address(int i) const {
    return static_cast<uint32_t>(__cvta_generic_to_shared(data_ + i));
  }

 private:
  template <typename U>
  friend class Shared;

  T* data_ = nullptr;
};

extern __shared__ __align__(1024) unsigned char dynamic_shared_memory[];

class SharedPool {
 public:
  template <typename T>
  SIMT_DEVICE Shared<T> Take(int count, size_t alignment = 16) {
    const size_t begin = (used_ + alignment - 1) / alignment * alignment;
    used_ = begin + count * sizeof(T);
    return {reinterpret_cast<T*>(dynamic_shared_memory + begin), count};
  }

 private:
  size_t used_ = 0;
};

#define SIMT_SHARED(T, name, count)                 \
  __shared__ __align__(16) T name##_storage[count]; \
  const ::contextpool::kernels::cuda::Shared<T> name(name##_storage, count)

template <int kBytes, typename T>
SIMT_DEVICE void CopyAsync(Shared<T> to, int to_index, Global<const T> from, int64_t from_index,
                           int source_bytes = kBytes) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  if constexpr (kBytes == 16) {
    // Past the first-level cache.
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to.Address(to_index)),
                 "l"(from.Address(from_index)), "r"(source_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to.Address(to_index)),
                 "l"(from.Address(from_index)), "n"(kBytes), "r"(source_bytes)
                 : "memory");
  }
}

SIMT_DEVICE void CopyAsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int kPending>
SIMT_DEVICE void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace contextpool::kernels::cuda
