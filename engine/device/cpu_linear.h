// The CPU device's linear layers: whichever form the weights were prepared in multiplies.
#pragma once

#include <memory>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/device/cpu_device.h"
#include "engine/device/device.h"
#include "kernels/cpu_stream.h"
#include "kernels/linear.h"

namespace contextpool::engine {

class CpuLinear : public LinearWeight {
 public:
  // `memory` begins with the weights; `bias` points into it or is null.
  CpuLinear(int64_t out_columns, int64_t in_columns, DeviceBuffer memory, const float* bias)
      : LinearWeight(out_columns, in_columns), memory_(std::move(memory)), bias_(bias) {}

  // Fills in the weight and the bias and computes.
  virtual kernels::Status Multiply(kernels::LinearParams& params,
                                   kernels::CpuStream& stream) const = 0;
  size_t bytes() const override { return memory_.size(); }

 protected:
  const float* weight() const { return static_cast<const float*>(memory_.data()); }
  const float* bias() const { return bias_; }

 private:
  DeviceBuffer memory_;
  const float* bias_;
};

// As Device::PrepareLinear.
absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareCpuLinear(Device& device, CpuGemm gemm,
                                                               std::span<const float> weight,
                                                               std::span<const float> bias,
                                                               int64_t out_columns);

}  // namespace contextpool::engine
