// Global and shared memory of emulated kernels: each access is checked and counted.
// See kernels/cuda/primitives.cuh.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cuda/vec.cuh"
#include "kernels/simt/memory_access.h"
#include "kernels/simt/site.h"

namespace contextpool::kernels::emulated {

using simt::Site;

struct GlobalSpace {
  using Index = int64_t;
  static constexpr auto Load = simt::LoadGlobal;
  static constexpr auto Store = simt::StoreGlobal;
};

struct SharedSpace {
  using Index = int;
  static constexpr auto Load = simt::LoadShared;
  static constexpr auto Store = simt::StoreShared;
};

// An array in one of the spaces, whose accesses know its size.
template <typename T, typename Space>
class CheckedArray {
 public:
  using Value = std::remove_const_t<T>;
  using Index = typename Space::Index;

  CheckedArray() = default;
  CheckedArray(T* data, Index count) : data_(data), count_(count) {}

  explicit operator bool() const { return data_ != nullptr; }

  Value Load(Index i, Site site = Site::Here()) const { return LoadVec<1>(i, site)[0]; }

  template <int N>
  Vec<Value, N> LoadVec(Index i, Site site = Site::Here()) const {
    Vec<Value, N> value;
    std::memcpy(&value, Space::Load(Range<N>(i), site), sizeof(value));
    return value;
  }

  void Store(Index i, Value value, Site site = Site::Here()) const {
    StoreVec(i, Vec<Value, 1>{value}, site);
  }

  template <int N>
  void StoreVec(Index i, const Vec<Value, N>& value, Site site = Site::Here()) const {
    static_assert(!std::is_const_v<T>);
    std::memcpy(Space::Store(Range<N>(i), site), &value, sizeof(value));
  }

  // N elements from number `first`.
  template <int N>
  simt::ElementRange Range(int64_t first) const {
    static_assert(sizeof(T) * N <= 16 && (sizeof(T) * N & (sizeof(T) * N - 1)) == 0,
                  "a thread accesses 1, 2, 4, 8 or 16 bytes at once");
    return Range(first, N);
  }

  simt::ElementRange Range(int64_t first, int elements) const {
    return {.array = reinterpret_cast<std::byte*>(const_cast<Value*>(data_)),
            .count = count_,
            .first = first,
            .elements = elements,
            .element_bytes = sizeof(T)};
  }

 protected:
  T* data_ = nullptr;
  Index count_ = 0;
};

template <typename T>
class Global : public CheckedArray<T, GlobalSpace> {
  using Base = CheckedArray<T, GlobalSpace>;

 public:
  using Base::Base;

  template <typename U, typename = std::enable_if_t<std::is_same_v<const U, T>>>
  Global(const Global<U>& other)  // NOLINT(google-explicit-constructor)
      : Base(other.data_, other.count_) {}

  void AtomicAdd(int64_t i, T value, Site site = Site::Here()) const {
    static_assert(std::is_same_v<T, int64_t>);
    std::byte* const address = simt::StoreGlobal(Base::template Range<1>(i), site);
    std::atomic_ref<T>(*reinterpret_cast<T*>(address)).fetch_add(value, std::memory_order_relaxed);
  }

  Global Slice(int64_t first, int64_t count, Site site = Site::Here()) const {
    simt::CheckSlice(first, count, this->count_, site);
    return {this->data_ + first, count};
  }

 private:
  template <typename U>
  friend class Global;
};

template <typename T>
class Shared : public CheckedArray<T, SharedSpace> {
  using Base = CheckedArray<T, SharedSpace>;

 public:
  using Base::Base;

  template <typename U, typename = std::enable_if_t<std::is_same_v<const U, T>>>
  Shared(const Shared<U>& other)  // NOLINT(google-explicit-constructor)
      : Base(other.data_, other.count_) {}

  Shared Slice(int first, int count, Site site = Site::Here()) const {
    simt::CheckSlice(first, count, this->count_, site);
    return {this->data_ + first, count};
  }

  // The same bytes as elements of another type.
  template <typename U>
  Shared<U> As() const {
    return {reinterpret_cast<U*>(this->data_),
            static_cast<int>(this->count_ * sizeof(T) / sizeof(U))};
  }

 private:
  template <typename U>
  friend class Shared;
};

class SharedPool {
 public:
  template <typename T>
  Shared<T> Take(int count, size_t alignment = 16, Site site = Site::Here()) {
    std::byte* data = simt::TakeDynamicShared(count * sizeof(T), alignment, &used_, site);
    return {reinterpret_cast<T*>(data), count};
  }

 private:
  size_t used_ = 0;
};

template <typename T>
Shared<T> StaticShared(const void* key, int count, const char* name, Site site = Site::Here()) {
  return {reinterpret_cast<T*>(simt::StaticShared(key, count * sizeof(T), name, site)), count};
}

// `name##_key` is one object for each place in the source and each instance of its function.
#define SIMT_SHARED(T, name, count)                        \
  static char name##_key;                                  \
  const ::contextpool::kernels::emulated::Shared<T> name = \
      ::contextpool::kernels::emulated::StaticShared<T>(&name##_key, count, #name)

template <int kBytes, typename T>
void CopyAsync(Shared<T> to, int to_index, Global<const T> from, int64_t from_index,
               int source_bytes = kBytes, Site site = Site::Here()) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  constexpr int kElements = kBytes / sizeof(T);
  simt::IssueCopy(to.template Range<kElements>(to_index),
                  from.Range(from_index, source_bytes / static_cast<int>(sizeof(T))), site);
}

inline void CopyAsyncCommit() { simt::CommitCopies(); }

template <int kPending>
void CopyAsyncWait() {
  simt::WaitForCopies(kPending);
}

}  // namespace contextpool::kernels::emulated
