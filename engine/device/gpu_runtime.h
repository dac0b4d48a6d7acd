// What a GPU device needs beside its kernels: memory, copies, one stream and matrix products. That
// is the seam at which tests put an emulator in place of a GPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/dtype.h"
#include "kernels/launch.h"

namespace contextpool::engine {

// out = x W^T, sums in float32.
struct GpuGemmParams {
  // [rows, in], rows `x_stride` elements apart.
  const void* x = nullptr;
  // [out, in], dense.
  const void* weight = nullptr;
  // [rows, out], rows `out_stride` elements apart.
  void* out = nullptr;
  DType dtype = DType::kBF16;  // of x and weight
  DType out_dtype = DType::kBF16;
  int64_t rows = 0;
  int64_t in_columns = 0;
  int64_t out_columns = 0;
  int64_t x_stride = 0;
  int64_t out_stride = 0;
};

// Allocate, Free and Upload may be called by any thread, the others by the stream's alone.
class GpuRuntime {
 public:
  virtual ~GpuRuntime() = default;

  // As the API names the device, for example "cuda:0".
  virtual absl::string_view name() const = 0;

  // Aligned to 256 bytes. RESOURCE_EXHAUSTED if there is not so much.
  virtual absl::StatusOr<void*> Allocate(size_t bytes) = 0;
  virtual void Free(void* data) = 0;

  // As Device::Upload.
  virtual absl::Status Upload(void* device, const void* host, size_t bytes) = 0;

  // Queued on the stream.
  virtual absl::Status CopyToDevice(void* device, const void* host, size_t bytes) = 0;
  virtual absl::Status CopyToHost(void* host, const void* device, size_t bytes) = 0;
  virtual absl::Status Multiply(const GpuGemmParams& params) = 0;

  virtual kernels::StreamHandle stream() = 0;

  // Why a kernel could not be launched.
  virtual absl::Status LaunchFailure() = 0;

  // Waits for the stream. An error is that of the GPU and stays.
  virtual absl::Status Synchronize() = 0;
};

}  // namespace contextpool::engine
