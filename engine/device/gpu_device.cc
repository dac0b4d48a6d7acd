#include "engine/device/gpu_device.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/device/gpu_linear.h"
#include "engine/device/gpu_queue.h"
#include "engine/device/op_params.h"

namespace contextpool::engine {
namespace {

// Whole waves of products' tiles on the 132 processors of an H100: 3 * 44 * 128.
constexpr int64_t kBatchTokens = 16896;
// Patches that are made and multiplied at a time.
constexpr int64_t kPatchRows = 8192;
// Those of kernels::cuda::Attention.
constexpr std::array<int64_t, 3> kHeadSizes = {32, 64, 128};
// Of kernels::cuda::LayerNorm, Embedding and Pool.
constexpr int64_t kMostColumns = 2048;

const void* BiasOf(const LinearWeight& weight, const TensorView& out) {
  return static_cast<const GpuLinear&>(weight).bias(out.dtype);
}

// x W^T alone.
GpuGemmParams ProductOf(const TensorView& x, const LinearWeight& weight, const TensorView& out) {
  return {.x = x.data,
          .weight = static_cast<const GpuLinear&>(weight).weight(),
          .out = out.data,
          .dtype = x.dtype,
          .out_dtype = out.dtype,
          .rows = x.shape[0],
          .in_columns = weight.in_columns(),
          .out_columns = weight.out_columns(),
          .x_stride = x.strides[0],
          .out_stride = out.strides[0]};
}

class GpuDevice final : public Device {
 public:
  GpuDevice(std::unique_ptr<GpuRuntime> runtime, const GpuKernels& kernels, DType dtype)
      : runtime_(std::move(runtime)), dtype_(dtype), queue_(*runtime_, kernels) {}

  absl::string_view name() const override { return runtime_->name(); }
  DType dtype() const override { return dtype_; }
  int64_t batch_token_budget() const override { return kBatchTokens; }
  int warm_up_passes() const override { return 2; }
  bool convolves() const override { return false; }

  absl::StatusOr<DeviceBuffer> Allocate(size_t bytes) override {
    absl::StatusOr<void*> data = runtime_->Allocate(bytes);
    if (!data.ok()) return data.status();
    return DeviceBuffer(this, *data, bytes);
  }

  absl::Status Upload(void* device, const void* host, size_t bytes) override {
    return bytes > 0 ? runtime_->Upload(device, host, bytes) : absl::OkStatus();
  }
  void CopyToDevice(void* device, const void* host, size_t bytes) override {
    queue_.CopyToDevice(device, host, bytes);
  }
  void CopyToHost(void* host, const void* device, size_t bytes) override {
    queue_.CopyToHost(host, device, bytes);
  }

  absl::Status Synchronize() override { return queue_.Synchronize(); }

  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(std::span<const float> weight,
                                                              std::span<const float> bias,
                                                              int64_t out_columns) override {
    return PrepareGpuLinear(*this, weight, bias, out_columns);
  }

  void Linear(const TensorView& x, const LinearWeight& weight, kernels::Activation activation,
              const TensorView& out) override {
    GpuGemmParams product = ProductOf(x, weight, out);
    const void* bias = BiasOf(weight, out);
    if (IsFused(activation)) {
      product.bias = bias;
      product.activation = activation;
    }
    Multiply(product);
    if (!IsFused(activation)) {
      queue_.Add(kernels::BiasActivationParams{.x = out.data,
                                               .bias = bias,
                                               .dtype = out.dtype,
                                               .activation = activation,
                                               .rows = out.shape[0],
                                               .columns = out.shape[1],
                                               .stride = out.strides[0]});
    }
  }

  void LinearResidual(const TensorView& x, const LinearWeight& weight, const TensorView& residual,
                      const TensorView& out) override {
    GpuGemmParams product = ProductOf(x, weight, out);
    product.bias = BiasOf(weight, out);
    product.residual = residual.data;
    product.residual_stride = residual.strides[0];
    Multiply(product);
  }

  void LayerNorm(const TensorView& x, const LayerNormWeights& norm,
                 const TensorView& out) override {
    queue_.Add(LayerNormParamsOf(x, norm, out));
  }

  void LinearResidualLayerNorm(const TensorView& x, const LinearWeight& weight,
                               const TensorView& residual, const LayerNormWeights& norm,
                               const TensorView& out) override {
    Multiply(ProductOf(x, weight, out));
    kernels::LayerNormParams params = LayerNormParamsOf(out, norm, out);
    params.bias = BiasOf(weight, out);
    params.residual = residual.data;
    params.residual_stride = residual.strides[0];
    queue_.Add(params);
  }

  void Embedding(const TensorView& ids, const Sequences& sequences, const EmbeddingTables& tables,
                 const TensorView& out) override {
    queue_.Add(EmbeddingParamsOf(ids, sequences, tables, out));
  }

  void PatchTokens(const TensorView& patches, const TensorView& table,
                   const TensorView& out) override {
    queue_.Add(PatchTokensParamsOf(patches, table, out));
  }

  absl::Status CheckTransformer(const AttentionShape& shape) const override {
    if (std::ranges::count(kHeadSizes, shape.head_size) == 0) {
      return absl::UnimplementedError(absl::StrCat(
          "device ", name(), " computes attention with heads of ", absl::StrJoin(kHeadSizes, ", "),
          " columns, but this model's have ", shape.head_size, "; a CPU computes any"));
    }
    if (shape.columns() > kMostColumns) {
      return absl::UnimplementedError(
          absl::StrCat("device ", name(), " computes hidden sizes up to ", kMostColumns,
                       ", but this model's is ", shape.columns(), "; a CPU computes any"));
    }
    return absl::OkStatus();
  }

  size_t AttentionWorkspaceBytes(int64_t /*max_length*/,
                                 const AttentionShape& /*shape*/) const override {
    return 0;
  }

  void Attention(const TensorView& qkv, const Sequences& sequences, const AttentionShape& shape,
                 const TensorView& /*workspace*/, const TensorView& out) override {
    queue_.Add(AttentionParamsOf(qkv, sequences, shape, out));
  }

  void ContextPoolSupport(const TensorView& taps, const Sequences& sequences,
                          const ContextPoolOptions& options, const ContextPoolWeights& weights,
                          const TensorView& support) override {
    kernels::ContextPoolSupportParams params =
        SupportParamsOf(taps, sequences, options, weights, support);
    params.dtype = dtype_;  // of taps that are not there, too
    queue_.Add(params);
  }

  size_t ContextPoolWorkspaceBytes(int64_t /*max_length*/, int64_t /*columns*/) const override {
    return 0;
  }

  void ContextPool(const TensorView& x, const TensorView& support, const Sequences& sequences,
                   const ContextPoolOptions& options, const ContextPoolWeights& weights,
                   const TensorView& /*workspace*/, kernels::ContextPoolTiles* tiles,
                   const TensorView& out) override {
    kernels::ContextPoolParams params = ContextPoolParamsOf(x, support, sequences, options, out);
    params.gate = weights.gate;
    params.tiles = tiles;
    queue_.Add(params);
  }

  size_t ConvolutionWorkspaceBytes(const LinearWeight& weight) const override {
    return static_cast<size_t>(kPatchRows * weight.in_columns()) * kernels::SizeOf(dtype_);
  }

  void Convolution(const TensorView& /*x*/, const LinearWeight& /*weight*/,
                   const ConvolutionOptions& /*options*/, const TensorView& /*residual*/,
                   const TensorView& /*workspace*/, const TensorView& /*out*/) override {
    Refuse("Convolution");
  }

  void PixelConvolution(const TensorView& pixels, const PixelScale& scale,
                        const LinearWeight& weight, const ConvolutionOptions& options,
                        const TensorView& workspace, const TensorView& out) override {
    const int64_t rows = out.elements() / weight.out_columns();
    kernels::Im2ColParams patches = PatchesOf(pixels, options.window);
    patches.pixels = pixels.as<uint8_t>();
    patches.scale = scale.scale;
    patches.offset = scale.offset;
    patches.out = workspace.data;
    patches.dtype = dtype_;
    auto* written = out.as<uint16_t>();
    for (int64_t first = 0; first < rows; first += kPatchRows) {
      patches.first_row = first;
      patches.rows = std::min(kPatchRows, rows - first);
      queue_.Add(patches);
      Linear(TensorView(workspace.data, dtype_, {patches.rows, weight.in_columns()}), weight,
             options.activation,
             TensorView(written + first * weight.out_columns(), dtype_,
                        {patches.rows, weight.out_columns()}));
    }
  }

  void MaxPool(const TensorView& /*x*/, const kernels::Window& /*window*/,
               const TensorView& /*out*/) override {
    Refuse("MaxPool");
  }

  void Pool(const TensorView& x, const kernels::PoolSegment* segments,
            const TensorView& out) override {
    queue_.Add(PoolParamsOf(x, segments, out));
  }

 protected:
  void Free(void* data, size_t /*bytes*/) override {
    queue_.ForgetPasses();
    runtime_->Free(data);
  }

 private:
  void Multiply(const GpuGemmParams& product) {
    if (product.rows > 0) queue_.Add(product);
  }

  void Refuse(absl::string_view op) {
    queue_.Fail(absl::UnimplementedError(
        absl::StrCat("device ", name(), ": ", op, " is computed on a CPU only")));
  }

  const std::unique_ptr<GpuRuntime> runtime_;
  const DType dtype_;
  GpuQueue queue_;
};

}  // namespace

std::unique_ptr<Device> CreateGpuDevice(std::unique_ptr<GpuRuntime> runtime,
                                        const GpuKernels& kernels, DType dtype) {
  return std::make_unique<GpuDevice>(std::move(runtime), kernels, dtype);
}

}  // namespace contextpool::engine
