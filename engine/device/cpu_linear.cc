#include "engine/device/cpu_linear.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "engine/device/cpu_torch_gemm.h"
#include "engine/device/op_params.h"
#include "kernels/activation.h"
#include "kernels/layer_norm.h"

namespace contextpool::engine {
namespace {

class PackedLinear final : public CpuLinear {
 public:
  using CpuLinear::CpuLinear;

  kernels::Status Multiply(kernels::LinearParams& params,
                           kernels::CpuStream& stream) const override {
    params.packed_weight = weight();
    params.bias = bias();
    return kernels::cpu::Linear(params, &stream);
  }
};

class TorchLinear final : public CpuLinear {
 public:
  using CpuLinear::CpuLinear;

  kernels::Status Multiply(kernels::LinearParams& params,
                           kernels::CpuStream& stream) const override {
    if (params.rows == 0) return kernels::Status::kOk;
    const int64_t tasks = std::min<int64_t>(stream.threads(), params.rows);
    std::atomic<bool> good{true};
    stream.ParallelFor(tasks, [&](int64_t task, int) {
      const int64_t begin = params.rows * task / tasks;
      const int64_t end = params.rows * (task + 1) / tasks;
      if (!TorchGemm({.x = static_cast<const float*>(params.x) + begin * params.x_stride,
                      .weight = weight(),
                      .out = static_cast<float*>(params.out) + begin * params.out_stride,
                      .rows = end - begin,
                      .in_columns = params.in_columns,
                      .out_columns = params.out_columns,
                      .x_stride = params.x_stride,
                      .out_stride = params.out_stride})) {
        good.store(false);
      }
    });
    if (!good.load()) return kernels::Status::kLaunchFailed;
    return Finish(params, stream);
  }

 private:
  // What the packed kernels fuse.
  kernels::Status Finish(const kernels::LinearParams& p, kernels::CpuStream& stream) const {
    if (p.gamma == nullptr) {
      return kernels::cpu::BiasActivation({.x = p.out,
                                           .bias = bias(),
                                           .residual = p.residual,
                                           .activation = p.activation,
                                           .rows = p.rows,
                                           .columns = p.out_columns,
                                           .stride = p.out_stride,
                                           .residual_stride = p.residual_stride},
                                          &stream);
    }
    return kernels::cpu::LayerNorm({.x = p.out,
                                    .bias = bias(),
                                    .residual = p.residual,
                                    .gamma = p.gamma,
                                    .beta = p.beta,
                                    .out = p.out,
                                    .rows = p.rows,
                                    .columns = p.out_columns,
                                    .x_stride = p.out_stride,
                                    .residual_stride = p.residual_stride,
                                    .out_stride = p.out_stride,
                                    .eps = p.eps},
                                   &stream);
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareCpuLinear(Device& device, CpuGemm gemm,
                                                               std::span<const float> weight,
                                                               std::span<const float> bias,
                                                               int64_t out_columns) {
  const absl::StatusOr<int64_t> columns = LinearInColumns(weight, bias, out_columns);
  if (!columns.ok()) return columns.status();
  const int64_t in_columns = *columns;
  const bool packed = gemm == CpuGemm::kPacked;
  const size_t elements =
      packed ? kernels::cpu::PackedLinearElements(out_columns, in_columns) : weight.size();
  absl::StatusOr<DeviceBuffer> memory = device.Allocate((elements + bias.size()) * sizeof(float));
  if (!memory.ok()) return memory.status();
  float* data = static_cast<float*>(memory->data());
  const float* kept_bias = bias.empty() ? nullptr : data + elements;
  std::copy(bias.begin(), bias.end(), data + elements);
  if (packed) {
    kernels::cpu::PackLinear(weight.data(), out_columns, in_columns, data);
    return std::make_unique<PackedLinear>(out_columns, in_columns, *std::move(memory), kept_bias);
  }
  std::copy(weight.begin(), weight.end(), data);
  return std::make_unique<TorchLinear>(out_columns, in_columns, *std::move(memory), kept_bias);
}

}  // namespace contextpool::engine
