// Weights of a linear layer on a GPU.
#pragma once

#include <memory>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/device/device.h"

namespace contextpool::engine {

class GpuLinear final : public LinearWeight {
 public:
  GpuLinear(int64_t out_columns, int64_t in_columns, DeviceBuffer weight, DeviceBuffer bias)
      : LinearWeight(out_columns, in_columns), weight_(std::move(weight)), bias_(std::move(bias)) {}

  // [out, in], as checkpoints hold it, of the device's dtype.
  const void* weight() const { return weight_.data(); }
  // [out] of `dtype`, which is the device's or float32; null without one.
  const void* bias(DType dtype) const;
  size_t bytes() const override { return weight_.size() + bias_.size(); }

 private:
  const DeviceBuffer weight_;
  // Twice: as float32, then of the device's dtype. Each begins at a multiple of 64 bytes.
  const DeviceBuffer bias_;
};

// As Device::PrepareLinear.
absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareGpuLinear(Device& device,
                                                               std::span<const float> weight,
                                                               std::span<const float> bias,
                                                               int64_t out_columns);

}  // namespace contextpool::engine
