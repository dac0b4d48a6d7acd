// Memory of one batch: handed out by moving a pointer, taken back all at once.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <utility>

#include "engine/device/device.h"
#include "engine/device/tensor.h"

namespace contextpool::engine {

// Never allocates after Create and never frees before its end. Not thread safe.
class Arena {
 public:
  static constexpr size_t kAlignment = 64;

  // What a tensor of `bytes` takes up.
  static constexpr size_t Padded(size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  // What a matrix takes up.
  static constexpr size_t Bytes(DType dtype, int64_t rows, int64_t columns) {
    return Padded(static_cast<size_t>(rows * columns) * kernels::SizeOf(dtype));
  }
  static constexpr size_t FloatBytes(int64_t rows, int64_t columns) {
    return Bytes(DType::kF32, rows, columns);
  }

  // RESOURCE_EXHAUSTED if the device has not so much.
  static absl::StatusOr<Arena> Create(Device& device, size_t bytes);

  // Aligned to kAlignment, not initialised. Null if fewer than `bytes` are left.
  void* Allocate(size_t bytes);

  // Dense; `data` is null if it does not fit.
  TensorView Tensor(DType dtype, std::initializer_list<int64_t> shape);

  // Everything handed out becomes invalid.
  void Reset() { used_ = 0; }

  // Gives back everything handed out since used() was `mark`.
  void Rewind(size_t mark) { used_ = mark; }

  size_t used() const { return used_; }
  size_t capacity() const { return buffer_.size(); }

 private:
  explicit Arena(DeviceBuffer buffer) : buffer_(std::move(buffer)) {}

  DeviceBuffer buffer_;
  size_t used_ = 0;
};

}  // namespace contextpool::engine
