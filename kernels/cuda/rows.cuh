// From the untyped pointers of parameters to what kernels take.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// [rows, columns] with rows `stride` elements apart. Null stays null.
template <typename T, typename Void>
Global<T> Rows(Void* data, int64_t rows, int64_t columns, int64_t stride) {
  static_assert(std::is_void_v<Void>);
  if (data == nullptr || rows == 0) return {};
  return {static_cast<T*>(data), (rows - 1) * stride + columns};
}

// Rows whose number only the device's own numbers respect: bounded by the buffer alone.
template <typename T, typename Void>
Global<T> Table(Void* data) {
  static_assert(std::is_void_v<Void>);
  return {static_cast<T*>(data), std::numeric_limits<int64_t>::max() / 16};
}

}  // namespace contextpool::kernels::SIMT_BACKEND
