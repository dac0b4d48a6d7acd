#include "engine/device/cpu_device.h"

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/base/device_name.h"
#include "engine/base/options.h"
#include "engine/device/cpu_convolution.h"
#include "engine/device/cpu_count.h"
#include "engine/device/cpu_linear.h"
#include "engine/device/op_params.h"
#include "engine/device/thread_pool.h"
#include "kernels/attention.h"
#include "kernels/context_pool.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"
#include "kernels/max_pool.h"

namespace contextpool::engine {
namespace {

constexpr size_t kAlignment = 64;

class CpuDevice final : public Device {
 public:
  CpuDevice(int threads, kernels::Isa isa, CpuGemm gemm) : pool_(threads, isa), gemm_(gemm) {}

  absl::string_view name() const override { return kCpuName; }
  DType dtype() const override { return DType::kF32; }
  int64_t batch_token_budget() const override { return kDefaultBatchTokenBudget; }
  int warm_up_passes() const override { return 1; }
  bool convolves() const override { return true; }

  absl::StatusOr<DeviceBuffer> Allocate(size_t bytes) override {
    const size_t padded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* data = padded < bytes ? nullptr : std::aligned_alloc(kAlignment, padded);
    if (data == nullptr && bytes != 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat("device cpu: cannot allocate ", bytes, " bytes of memory"));
    }
    return DeviceBuffer(this, data, bytes);
  }

  absl::Status Upload(void* device, const void* host, size_t bytes) override {
    if (bytes > 0) std::memcpy(device, host, bytes);
    return absl::OkStatus();
  }
  void CopyToDevice(void* device, const void* host, size_t bytes) override {
    if (bytes > 0) std::memcpy(device, host, bytes);
  }
  void CopyToHost(void* host, const void* device, size_t bytes) override {
    if (bytes > 0) std::memcpy(host, device, bytes);
  }

  absl::Status Synchronize() override { return std::exchange(status_, absl::OkStatus()); }

  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(std::span<const float> weight,
                                                              std::span<const float> bias,
                                                              int64_t out_columns) override {
    return PrepareCpuLinear(*this, gemm_, weight, bias, out_columns);
  }

  void Linear(const TensorView& x, const LinearWeight& weight, kernels::Activation activation,
              const TensorView& out) override {
    kernels::LinearParams params = LinearParamsOf(x, weight, out);
    params.activation = activation;
    Record("Linear", Multiply(weight, params));
  }

  void LinearResidual(const TensorView& x, const LinearWeight& weight, const TensorView& residual,
                      const TensorView& out) override {
    kernels::LinearParams params = LinearParamsOf(x, weight, out);
    params.residual = residual.data;
    params.residual_stride = residual.strides[0];
    Record("LinearResidual", Multiply(weight, params));
  }

  void LayerNorm(const TensorView& x, const LayerNormWeights& norm,
                 const TensorView& out) override {
    if (!status_.ok()) return;
    Record("LayerNorm", kernels::cpu::LayerNorm(LayerNormParamsOf(x, norm, out), &pool_));
  }

  void LinearResidualLayerNorm(const TensorView& x, const LinearWeight& weight,
                               const TensorView& residual, const LayerNormWeights& norm,
                               const TensorView& out) override {
    kernels::LinearParams params = LinearParamsOf(x, weight, out);
    params.residual = residual.data;
    params.residual_stride = residual.strides[0];
    params.gamma = norm.gamma.data;
    params.beta = norm.beta.data;
    params.eps = norm.eps;
    Record("LinearResidualLayerNorm", Multiply(weight, params));
  }

  void Embedding(const TensorView& ids, const Sequences& sequences, const EmbeddingTables& tables,
                 const TensorView& out) override {
    const kernels::EmbeddingParams params = EmbeddingParamsOf(ids, sequences, tables, out);
    if (status_.ok()) Record("Embedding", kernels::cpu::Embedding(params, &pool_));
  }

  void PatchTokens(const TensorView& patches, const TensorView& table,
                   const TensorView& out) override {
    if (!status_.ok()) return;
    Record("PatchTokens",
           kernels::cpu::PatchTokens(PatchTokensParamsOf(patches, table, out), &pool_));
  }

  absl::Status CheckTransformer(const AttentionShape& /*shape*/) const override {
    return absl::OkStatus();
  }

  size_t AttentionWorkspaceBytes(int64_t max_length, const AttentionShape& shape) const override {
    return kernels::cpu::AttentionWorkspaceBytes(max_length, shape.head_size, pool_.threads());
  }

  void Attention(const TensorView& qkv, const Sequences& sequences, const AttentionShape& shape,
                 const TensorView& workspace, const TensorView& out) override {
    kernels::AttentionParams params = AttentionParamsOf(qkv, sequences, shape, out);
    params.workspace = workspace.data;
    if (status_.ok()) Record("Attention", kernels::cpu::Attention(params, &pool_));
  }

  void ContextPoolSupport(const TensorView& taps, const Sequences& sequences,
                          const ContextPoolOptions& options, const ContextPoolWeights& weights,
                          const TensorView& support) override {
    const kernels::ContextPoolSupportParams params =
        SupportParamsOf(taps, sequences, options, weights, support);
    if (status_.ok()) {
      Record("ContextPoolSupport", kernels::cpu::ContextPoolSupport(params, &pool_));
    }
  }

  size_t ContextPoolWorkspaceBytes(int64_t max_length, int64_t /*columns*/) const override {
    return kernels::cpu::ContextPoolWorkspaceBytes(max_length, pool_.threads());
  }

  void ContextPool(const TensorView& x, const TensorView& support, const Sequences& sequences,
                   const ContextPoolOptions& options, const ContextPoolWeights& weights,
                   const TensorView& workspace, kernels::ContextPoolTiles* tiles,
                   const TensorView& out) override {
    kernels::ContextPoolParams params = ContextPoolParamsOf(x, support, sequences, options, out);
    params.gate = weights.gate;
    params.workspace = workspace.data;
    params.tiles = tiles;
    if (status_.ok()) Record("ContextPool", kernels::cpu::ContextPool(params, &pool_));
  }

  size_t ConvolutionWorkspaceBytes(const LinearWeight& weight) const override {
    return CpuConvolutionWorkspaceBytes(weight.in_columns(), pool_.threads());
  }

  void Convolution(const TensorView& x, const LinearWeight& weight,
                   const ConvolutionOptions& options, const TensorView& residual,
                   const TensorView& workspace, const TensorView& out) override {
    CpuConvolution convolution = ConvolutionOf(x, weight, options, workspace, out);
    convolution.patches.x = x.data;
    convolution.product.residual = residual.data;
    Run(convolution, weight);
  }

  void PixelConvolution(const TensorView& pixels, const PixelScale& scale,
                        const LinearWeight& weight, const ConvolutionOptions& options,
                        const TensorView& workspace, const TensorView& out) override {
    CpuConvolution convolution = ConvolutionOf(pixels, weight, options, workspace, out);
    convolution.patches.pixels = pixels.as<uint8_t>();
    convolution.patches.scale = scale.scale;
    convolution.patches.offset = scale.offset;
    Run(convolution, weight);
  }

  void MaxPool(const TensorView& x, const kernels::Window& window, const TensorView& out) override {
    const kernels::MaxPoolParams params = {.x = x.data,
                                           .out = out.data,
                                           .dtype = x.dtype,
                                           .window = window,
                                           .images = x.shape[0],
                                           .height = x.shape[1],
                                           .width = x.shape[2],
                                           .channels = x.shape[3]};
    if (status_.ok()) Record("MaxPool", kernels::cpu::MaxPool(params, &pool_));
  }

  void Pool(const TensorView& x, const kernels::PoolSegment* segments,
            const TensorView& out) override {
    if (!status_.ok()) return;
    Record("Pool", kernels::cpu::Pool(PoolParamsOf(x, segments, out), &pool_));
  }

 protected:
  void Free(void* data, size_t) override { std::free(data); }

 private:
  kernels::Status Multiply(const LinearWeight& weight, kernels::LinearParams& params) {
    if (!status_.ok()) return kernels::Status::kOk;
    return static_cast<const CpuLinear&>(weight).Multiply(params, pool_);
  }

  void Run(const CpuConvolution& convolution, const LinearWeight& weight) {
    if (!status_.ok()) return;
    Record("Convolution", Convolve(convolution, static_cast<const CpuLinear&>(weight), pool_));
  }

  void Record(absl::string_view op, kernels::Status status) {
    if (status == kernels::Status::kOk || !status_.ok()) return;
    status_ = absl::InternalError(absl::StrCat("device cpu: ", op, ": ", kernels::Name(status)));
  }

  ThreadPool pool_;
  const CpuGemm gemm_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> CreateCpuDevice(const CpuDeviceOptions& options) {
  if (options.threads < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpu threads must be 0 (automatic) or more, got ", options.threads));
  }
  const kernels::Isa isa = options.isa.value_or(kernels::BestIsa());
  if (isa > kernels::BestIsa()) {
    return absl::InvalidArgumentError(
        absl::StrCat("this CPU does not execute ", kernels::Name(isa), " instructions"));
  }
  const int threads = options.threads > 0 ? options.threads : AvailableCpus();
  const CpuGemm gemm =
      options.gemm.value_or(isa == kernels::Isa::kAvx2 ? CpuGemm::kPacked : CpuGemm::kLibTorch);
  return std::make_unique<CpuDevice>(threads, isa, gemm);
}

}  // namespace contextpool::engine
