// The launch functions: check the arguments, choose the implementation.

#include "kernels/cpu/attention_scratch.h"
#include "kernels/cpu/context_pool_scratch.h"
#include "kernels/cpu/ops.h"

namespace contextpool::kernels::cpu {
namespace {

template <typename Params>
using Implementation = void (*)(const Params&, CpuStream&);

// `fits` is the op's own condition on sizes and strides.
template <typename Params>
Status Launch(const Params& params, StreamHandle handle, bool fits, Implementation<Params> avx2,
              Implementation<Params> reference) {
  if (params.dtype != DType::kF32) return Status::kBadDType;
  if (!fits) return Status::kBadShape;
  CpuStream& stream = *static_cast<CpuStream*>(handle);
  (stream.isa() == Isa::kAvx2 ? avx2 : reference)(params, stream);
  return Status::kOk;
}

// What the first convolution's sum may go through.
bool IsPoolActivation(Activation activation) {
  return activation == Activation::kNone || activation == Activation::kGelu ||
         activation == Activation::kRelu || activation == Activation::kLeakyRelu;
}

}  // namespace

Status BiasActivation(const BiasActivationParams& p, StreamHandle stream) {
  const bool fits = p.rows >= 0 && p.columns > 0 && p.stride >= p.columns &&
                    (p.residual == nullptr || p.residual_stride >= p.columns);
  return Launch(p, stream, fits, avx2::BiasActivation, reference::BiasActivation);
}

Status LayerNorm(const LayerNormParams& p, StreamHandle stream) {
  const bool fits = p.rows >= 0 && p.columns > 0 && p.x_stride >= p.columns &&
                    p.out_stride >= p.columns &&
                    (p.residual == nullptr || p.residual_stride >= p.columns);
  return Launch(p, stream, fits, avx2::LayerNorm, reference::LayerNorm);
}

Status Embedding(const EmbeddingParams& p, StreamHandle stream) {
  const bool fits = p.sequences >= 0 && p.tokens >= p.sequences && p.columns > 0;
  return Launch(p, stream, fits, avx2::Embedding, reference::Embedding);
}

size_t AttentionWorkspaceBytes(int64_t max_length, int64_t head_size, int threads) {
  return static_cast<size_t>(AttentionScratch::Floats(max_length, head_size) * threads) *
         sizeof(float);
}

Status Attention(const AttentionParams& p, StreamHandle stream) {
  const bool fits = p.sequences >= 0 && p.heads > 0 && p.head_size > 0 && p.max_length >= 0 &&
                    p.workspace != nullptr;
  return Launch(p, stream, fits, avx2::Attention, reference::Attention);
}

Status Im2Col(const Im2ColParams& p, StreamHandle stream) {
  const bool reads_one = (p.x == nullptr) != (p.pixels == nullptr);
  const bool fits = reads_one && (p.x != nullptr || p.channels == kPixelChannels) &&
                    Fits(p.window, p.height) && Fits(p.window, p.width) && p.channels > 0 &&
                    p.first_row >= 0 && p.rows >= 0;
  return Launch(p, stream, fits, avx2::Im2Col, reference::Im2Col);
}

Status MaxPool(const MaxPoolParams& p, StreamHandle stream) {
  const bool fits =
      p.images >= 0 && Fits(p.window, p.height) && Fits(p.window, p.width) && p.channels > 0;
  return Launch(p, stream, fits, avx2::MaxPool, reference::MaxPool);
}

Status PatchTokens(const PatchTokensParams& p, StreamHandle stream) {
  const bool fits = p.images >= 0 && p.prefix >= 0 && p.tokens >= p.prefix && p.columns > 0;
  return Launch(p, stream, fits, avx2::PatchTokens, reference::PatchTokens);
}

Status Pool(const PoolParams& p, StreamHandle stream) {
  if (p.out_dtype != DType::kF32) return Status::kBadDType;
  const bool fits = p.segment_count >= 0 && p.columns > 0;
  return Launch(p, stream, fits, avx2::Pool, reference::Pool);
}

Status Linear(const LinearParams& p, StreamHandle stream) {
  const bool fits = p.rows >= 0 && p.in_columns > 0 && p.out_columns > 0 &&
                    p.x_stride >= p.in_columns && p.out_stride >= p.out_columns &&
                    (p.residual == nullptr || p.residual_stride >= p.out_columns) &&
                    (p.gamma == nullptr) == (p.beta == nullptr);
  return Launch(p, stream, fits, avx2::Linear, reference::Linear);
}

Status ContextPoolSupport(const ContextPoolSupportParams& p, StreamHandle stream) {
  const bool learned = Learned(p.weight, p.size);
  const bool network_fits = p.conv2_weight != nullptr && p.conv2_bias != nullptr &&
                            p.kernel_size > 0 && p.kernel_size % 2 == 1 && p.bottleneck > 0 &&
                            p.taps_stride >= PoolTaps(p.kernel_size, p.grid_width) * p.bottleneck &&
                            IsPoolActivation(p.activation);
  const bool fits = p.sequences >= 0 && p.prefix >= 0 && p.grid_width >= 0 && p.r >= 0 &&
                    p.fixed_n >= 0 && p.fixed_size >= 0 && (p.taps != nullptr) == learned &&
                    (!learned || network_fits);
  return Launch(p, stream, fits, avx2::ContextPoolSupport, reference::ContextPoolSupport);
}

size_t ContextPoolWorkspaceBytes(int64_t max_length, int threads) {
  return static_cast<size_t>(ContextPoolScratch::Floats(max_length) * threads) * sizeof(float);
}

Status ContextPool(const ContextPoolParams& p, StreamHandle stream) {
  const PoolOutputs& outputs = p.outputs;
  const bool outputs_fit =
      outputs.rows == 0 || (outputs.rows > 0 && outputs.columns > 0 && outputs.stride > 0 &&
                            p.grid_width > 0 && p.prefix == 0);
  const bool fits = p.sequences >= 0 && p.max_length >= 0 && p.prefix >= 0 && p.grid_width >= 0 &&
                    p.columns > 0 && p.x_stride >= p.columns && p.out_stride >= p.columns &&
                    p.skip_bits >= 0 && p.workspace != nullptr && outputs_fit;
  return Launch(p, stream, fits, avx2::ContextPool, reference::ContextPool);
}

}  // namespace contextpool::kernels::cpu
