#include "engine/device/gpu_linear.h"

#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/float16.h"
#include "engine/device/arena.h"
#include "engine/device/op_params.h"

namespace contextpool::engine {
namespace {

// Where the bias of the device's dtype begins.
size_t NarrowOffset(int64_t columns) { return Arena::FloatBytes(1, columns); }

absl::StatusOr<DeviceBuffer> Upload(Device& device, const void* host, size_t bytes) {
  absl::StatusOr<DeviceBuffer> buffer = device.Allocate(bytes);
  if (!buffer.ok()) return buffer;
  if (absl::Status status = device.Upload(buffer->data(), host, bytes); !status.ok()) return status;
  return buffer;
}

absl::StatusOr<DeviceBuffer> UploadBias(Device& device, std::span<const float> bias) {
  if (bias.empty()) return DeviceBuffer();
  const size_t offset = NarrowOffset(static_cast<int64_t>(bias.size()));
  std::vector<char> both(offset + bias.size() * sizeof(uint16_t));
  std::memcpy(both.data(), bias.data(), bias.size_bytes());
  Narrow(bias, device.dtype(), reinterpret_cast<uint16_t*>(both.data() + offset));
  return Upload(device, both.data(), both.size());
}

}  // namespace

const void* GpuLinear::bias(DType dtype) const {
  if (bias_.data() == nullptr) return nullptr;
  const size_t offset = dtype == DType::kF32 ? 0 : NarrowOffset(out_columns());
  return static_cast<const char*>(bias_.data()) + offset;
}

absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareGpuLinear(Device& device,
                                                               std::span<const float> weight,
                                                               std::span<const float> bias,
                                                               int64_t out_columns) {
  absl::StatusOr<int64_t> in_columns = LinearInColumns(weight, bias, out_columns);
  if (!in_columns.ok()) return in_columns.status();
  std::vector<uint16_t> narrow(weight.size());
  Narrow(weight, device.dtype(), narrow.data());
  absl::StatusOr<DeviceBuffer> matrix =
      Upload(device, narrow.data(), narrow.size() * sizeof(uint16_t));
  if (!matrix.ok()) return matrix.status();
  absl::StatusOr<DeviceBuffer> vector = UploadBias(device, bias);
  if (!vector.ok()) return vector.status();
  return std::make_unique<GpuLinear>(out_columns, *in_columns, *std::move(matrix),
                                     *std::move(vector));
}

}  // namespace contextpool::engine
