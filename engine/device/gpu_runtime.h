// What a GPU device needs beside its kernels: memory, copies, one stream, matrix products and
// graphs. That is the seam at which tests put an emulator, or a recorder, in place of a GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/dtype.h"
#include "kernels/activation.h"
#include "kernels/launch.h"

namespace contextpool::engine {

// out = activation(x W^T + bias + residual), computed in float32.
struct GpuGemmParams {
  // [rows, in], rows `x_stride` elements apart.
  const void* x = nullptr;
  // [out, in], dense.
  const void* weight = nullptr;
  // [out]; null: none.
  const void* bias = nullptr;
  // [rows, out], rows `residual_stride` elements apart; null: none. Not with an activation.
  const void* residual = nullptr;
  // [rows, out], rows `out_stride` elements apart. Overlaps neither x nor residual.
  void* out = nullptr;
  DType dtype = DType::kBF16;      // of x and weight
  DType out_dtype = DType::kBF16;  // of bias, residual and out
  // kNone, kRelu or kGeluTanh.
  kernels::Activation activation = kernels::Activation::kNone;
  int64_t rows = 0;
  int64_t in_columns = 0;
  int64_t out_columns = 0;
  int64_t x_stride = 0;
  int64_t residual_stride = 0;
  int64_t out_stride = 0;

  bool operator==(const GpuGemmParams&) const = default;
};

// Whether a product can have the activation.
constexpr bool IsFused(kernels::Activation activation) {
  return activation == kernels::Activation::kNone || activation == kernels::Activation::kRelu ||
         activation == kernels::Activation::kGeluTanh;
}

// What was queued between BeginCapture and EndCapture.
class GpuGraph {
 public:
  virtual ~GpuGraph() = default;
};

// Memory and Upload may be used by any thread, the others by the stream's alone.
//
// An error of code DATA_LOSS says that the GPU is lost to this process: everything fails from then
// on.
class GpuRuntime {
 public:
  virtual ~GpuRuntime() = default;

  // As the API names the device, for example "cuda:0".
  virtual absl::string_view name() const = 0;

  // Aligned to 256 bytes. RESOURCE_EXHAUSTED if there is not so much.
  virtual absl::StatusOr<void*> Allocate(size_t bytes) = 0;
  virtual void Free(void* data) = 0;

  // Page-locked memory of the host, aligned to 256 bytes, from and to which the GPU copies by
  // itself.
  virtual absl::StatusOr<void*> AllocateHost(size_t bytes) = 0;
  virtual void FreeHost(void* data) = 0;

  // As Device::Upload.
  virtual absl::Status Upload(void* device, const void* host, size_t bytes) = 0;

  // Queued on the stream. `host` is memory of AllocateHost.
  virtual absl::Status CopyToDevice(void* device, const void* host, size_t bytes) = 0;
  virtual absl::Status CopyToHost(void* host, const void* device, size_t bytes) = 0;
  virtual absl::Status Multiply(const GpuGemmParams& params) = 0;

  virtual kernels::StreamHandle stream() = 0;

  // Why a kernel could not be launched.
  virtual absl::Status LaunchFailure() = 0;

  // From BeginCapture to EndCapture what is queued is recorded instead of computed. UNIMPLEMENTED:
  // this runtime has no graphs.
  virtual absl::Status BeginCapture() = 0;
  virtual absl::StatusOr<std::unique_ptr<GpuGraph>> EndCapture() = 0;
  // Queues what the graph recorded.
  virtual absl::Status Launch(const GpuGraph& graph) = 0;

  // Waits for the stream.
  virtual absl::Status Synchronize() = 0;
};

}  // namespace contextpool::engine
