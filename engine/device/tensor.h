// A tensor somewhere on a device: says where and what shape, owns nothing.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>

#include "engine/base/dtype.h"

namespace contextpool::engine {

// Strides count elements. The pointer is meaningful to its device only: on a CPU it may be read
// directly, elsewhere only through Device::CopyToHost.
struct TensorView {
  static constexpr int kMaxRank = 4;

  void* data = nullptr;
  DType dtype = DType::kF32;
  int32_t rank = 0;
  std::array<int64_t, kMaxRank> shape{};
  std::array<int64_t, kMaxRank> strides{};

  TensorView() = default;
  // Dense, row-major. REQUIRES: at most kMaxRank dimensions.
  TensorView(void* pointer, DType type, std::initializer_list<int64_t> dimensions)
      : data(pointer), dtype(type), rank(static_cast<int32_t>(dimensions.size())) {
    int i = 0;
    for (int64_t dimension : dimensions) shape[i++] = dimension;
    int64_t stride = 1;
    for (i = rank - 1; i >= 0; --i) {
      strides[i] = stride;
      stride *= shape[i];
    }
  }

  int64_t elements() const {
    int64_t product = rank > 0 ? 1 : 0;
    for (int i = 0; i < rank; ++i) product *= shape[i];
    return product;
  }
  // Of a dense tensor.
  size_t bytes() const { return static_cast<size_t>(elements()) * kernels::SizeOf(dtype); }

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace contextpool::engine
