#include "engine/device/arena.h"

#include "absl/strings/str_cat.h"

namespace contextpool::engine {

absl::StatusOr<Arena> Arena::Create(Device& device, size_t bytes) {
  const size_t padded = Padded(bytes);
  if (padded < bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("device ", device.name(), ": cannot allocate ", bytes, " bytes of memory"));
  }
  absl::StatusOr<DeviceBuffer> buffer = device.Allocate(padded);
  if (!buffer.ok()) return buffer.status();
  return Arena(*std::move(buffer));
}

void* Arena::Allocate(size_t bytes) {
  const size_t padded = Padded(bytes);
  if (padded < bytes || padded > capacity() - used_) return nullptr;
  void* place = static_cast<char*>(buffer_.data()) + used_;
  used_ += padded;
  return place;
}

TensorView Arena::Tensor(DType dtype, std::initializer_list<int64_t> shape) {
  TensorView view(nullptr, dtype, shape);
  view.data = Allocate(view.bytes());
  return view;
}

}  // namespace contextpool::engine
