#include "engine/device/emulated/emulated_gpu.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/float16.h"
#include "engine/base/mutex.h"
#include "engine/device/gpu_device.h"
#include "engine/device/gpu_kernels.h"
#include "engine/device/gpu_runtime.h"
#include "kernels/simt/device_buffer.h"

namespace contextpool::engine {
namespace {

namespace simt = kernels::simt;

// Rows of 16-bit numbers as float32, dense.
std::vector<float> Widened(const void* data, DType dtype, int64_t rows, int64_t columns,
                           int64_t stride) {
  const auto* narrow = static_cast<const uint16_t*>(data);
  std::vector<float> wide;
  wide.reserve(rows * columns);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < columns; ++c) {
      const uint16_t bits = narrow[row * stride + c];
      wide.push_back(dtype == DType::kF16 ? FloatFromF16(bits) : FloatFromBF16(bits));
    }
  }
  return wide;
}

class EmulatedRuntime final : public GpuRuntime {
 public:
  explicit EmulatedRuntime(const simt::LaunchOptions& options) : options_(options) {}

  absl::string_view name() const override { return "emulated"; }

  absl::StatusOr<void*> Allocate(size_t bytes) override try {
    auto buffer = std::make_unique<simt::DeviceBuffer<char>>(bytes);
    void* data = buffer->data();
    MutexLock lock(mutex_);
    buffers_.emplace(data, std::move(buffer));
    return data;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("device emulated: cannot allocate ", bytes, " bytes of memory"));
  }

  void Free(void* data) override {
    MutexLock lock(mutex_);
    buffers_.erase(data);
  }

  absl::Status Upload(void* device, const void* host, size_t bytes) override {
    std::memcpy(device, host, bytes);
    return absl::OkStatus();
  }
  absl::Status CopyToDevice(void* device, const void* host, size_t bytes) override {
    return Upload(device, host, bytes);
  }
  absl::Status CopyToHost(void* host, const void* device, size_t bytes) override {
    return Upload(host, device, bytes);
  }

  // Sums in float32 in ascending order.
  absl::Status Multiply(const GpuGemmParams& p) override {
    const std::vector<float> x = Widened(p.x, p.dtype, p.rows, p.in_columns, p.x_stride);
    const std::vector<float> weight =
        Widened(p.weight, p.dtype, p.out_columns, p.in_columns, p.in_columns);
    std::vector<float> sums(p.out_columns);
    for (int64_t row = 0; row < p.rows; ++row) {
      for (int64_t c = 0; c < p.out_columns; ++c) {
        float sum = 0;
        for (int64_t k = 0; k < p.in_columns; ++k) {
          sum += x[row * p.in_columns + k] * weight[c * p.in_columns + k];
        }
        sums[c] = sum;
      }
      if (p.out_dtype == DType::kF32) {
        std::ranges::copy(sums, static_cast<float*>(p.out) + row * p.out_stride);
      } else {
        Narrow(sums, p.out_dtype, static_cast<uint16_t*>(p.out) + row * p.out_stride);
      }
    }
    return absl::OkStatus();
  }

  kernels::StreamHandle stream() override {
    // The last launch's report is enough.
    stream_.emplace(options_);
    return stream_->handle();
  }

  absl::Status LaunchFailure() override {
    return absl::InternalError(
        absl::StrCat("device emulated: ", stream_->reports().back().ToString()));
  }

  absl::Status Synchronize() override { return absl::OkStatus(); }

 private:
  const simt::LaunchOptions options_;
  std::optional<simt::Stream> stream_;
  Mutex mutex_;
  absl::flat_hash_map<void*, std::unique_ptr<simt::DeviceBuffer<char>>> buffers_
      ABSL_GUARDED_BY(mutex_);
};

constexpr GpuKernels kKernels = {
    .attention = kernels::emulated::Attention,
    .bias_activation = kernels::emulated::BiasActivation,
    .context_pool = kernels::emulated::ContextPool,
    .context_pool_support = kernels::emulated::ContextPoolSupport,
    .embedding = kernels::emulated::Embedding,
    .im2col = kernels::emulated::Im2Col,
    .layer_norm = kernels::emulated::LayerNorm,
    .patch_tokens = kernels::emulated::PatchTokens,
    .pool = kernels::emulated::Pool,
};

}  // namespace

std::unique_ptr<Device> CreateEmulatedGpu(DType dtype, const simt::LaunchOptions& options) {
  return CreateGpuDevice(std::make_unique<EmulatedRuntime>(options), kKernels, dtype);
}

}  // namespace contextpool::engine
