#include "engine/device/emulated/emulated_gpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <numbers>
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

constexpr std::align_val_t kHostAlignment{256};
constexpr int kPoison = 0xff;  // NaN in every floating-point type

// Rows of numbers as float32, dense.
std::vector<float> Widened(const void* data, DType dtype, int64_t rows, int64_t columns,
                           int64_t stride) {
  const auto* narrow = static_cast<const uint16_t*>(data);
  std::vector<float> wide;
  wide.reserve(rows * columns);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t i = row * stride + c;
      if (dtype == DType::kF32) {
        wide.push_back(static_cast<const float*>(data)[i]);
      } else {
        wide.push_back(dtype == DType::kF16 ? FloatFromF16(narrow[i]) : FloatFromBF16(narrow[i]));
      }
    }
  }
  return wide;
}

float Activated(float x, kernels::Activation activation) {
  switch (activation) {
    case kernels::Activation::kRelu:
      return std::max(x, 0.0F);
    case kernels::Activation::kGeluTanh: {
      const float inner = std::sqrt(2 / std::numbers::pi_v<float>) * (x + 0.044715F * x * x * x);
      return x / 2 * (1 + std::tanh(inner));
    }
    default:
      return x;
  }
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

  absl::StatusOr<void*> AllocateHost(size_t bytes) override {
    return ::operator new(bytes, kHostAlignment);
  }
  void FreeHost(void* data) override { ::operator delete(data, kHostAlignment); }

  absl::Status Upload(void* device, const void* host, size_t bytes) override {
    std::memcpy(device, host, bytes);
    return absl::OkStatus();
  }

  // Read late, as a GPU may: the host's memory must stay as it is until Synchronize.
  absl::Status CopyToDevice(void* device, const void* host, size_t bytes) override {
    const auto* source = static_cast<const char*>(host);
    sent_.push_back({source, std::vector<char>(source, source + bytes)});
    return Upload(device, host, bytes);
  }
  // Arrives late: until Synchronize the host's memory holds poison.
  absl::Status CopyToHost(void* host, const void* device, size_t bytes) override {
    const auto* source = static_cast<const char*>(device);
    arriving_.push_back({static_cast<char*>(host), std::vector<char>(source, source + bytes)});
    std::memset(host, kPoison, bytes);
    return absl::OkStatus();
  }

  // Sums in float32 in ascending order.
  absl::Status Multiply(const GpuGemmParams& p) override {
    const std::vector<float> x = Widened(p.x, p.dtype, p.rows, p.in_columns, p.x_stride);
    const std::vector<float> weight =
        Widened(p.weight, p.dtype, p.out_columns, p.in_columns, p.in_columns);
    const std::vector<float> bias =
        p.bias != nullptr ? Widened(p.bias, p.out_dtype, 1, p.out_columns, p.out_columns)
                          : std::vector<float>(p.out_columns, 0);
    const std::vector<float> residual =
        p.residual != nullptr
            ? Widened(p.residual, p.out_dtype, p.rows, p.out_columns, p.residual_stride)
            : std::vector<float>(p.rows * p.out_columns, 0);
    std::vector<float> sums(p.out_columns);
    for (int64_t row = 0; row < p.rows; ++row) {
      for (int64_t c = 0; c < p.out_columns; ++c) {
        float sum = 0;
        for (int64_t k = 0; k < p.in_columns; ++k) {
          sum += x[row * p.in_columns + k] * weight[c * p.in_columns + k];
        }
        sums[c] = Activated(sum + bias[c] + residual[row * p.out_columns + c], p.activation);
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

  // Every pass is queued anew.
  absl::Status BeginCapture() override {
    return absl::UnimplementedError("device emulated: no graphs");
  }
  absl::StatusOr<std::unique_ptr<GpuGraph>> EndCapture() override { return BeginCapture(); }
  absl::Status Launch(const GpuGraph& /*graph*/) override { return BeginCapture(); }

  absl::Status Synchronize() override {
    absl::Status status;
    for (const auto& [source, bytes] : sent_) {
      if (std::memcmp(source, bytes.data(), bytes.size()) != 0) {
        status = absl::InternalError("device emulated: a copy's source changed before its end");
      }
    }
    for (const auto& [target, bytes] : arriving_) {
      std::memcpy(target, bytes.data(), bytes.size());
    }
    sent_.clear();
    arriving_.clear();
    return status;
  }

 private:
  template <typename Place>
  struct Copy {
    Place* place;
    std::vector<char> bytes;
  };

  const simt::LaunchOptions options_;
  std::vector<Copy<const char>> sent_;
  std::vector<Copy<char>> arriving_;
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
