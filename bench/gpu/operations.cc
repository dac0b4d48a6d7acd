#include "bench/gpu/operations.h"

#include <array>
#include <iterator>
#include <string>
#include <type_traits>

#include "bench/gpu/backend.h"
#include "bench/gpu/error_text.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/context_pool.h"
#include "kernels/embedding.h"
#include "kernels/im2col.h"
#include "kernels/layer_norm.h"
#include "kernels/patch_tokens.h"
#include "kernels/pool.h"

namespace contextpool::gpu_check {
namespace {

// GPU_CHECK_BACKEND: cuda or emulated.
namespace backend = kernels::GPU_CHECK_BACKEND;

template <typename T>
constexpr char CodeOf() {
  if constexpr (std::is_pointer_v<T>) return 'P';
  if constexpr (std::is_enum_v<T>) return 'B';
  if constexpr (std::is_same_v<T, bool>) return '?';
  if constexpr (std::is_same_v<T, int64_t>) return 'q';
  if constexpr (std::is_same_v<T, float> || std::is_same_v<T, std::array<float, 3>>) return 'f';
  return '\0';
}

template <typename T>
constexpr Field FieldOf(const char* name, size_t offset) {
  static_assert(CodeOf<T>() != '\0', "library.py has no such type");
  return {name, CodeOf<T>(), offset, sizeof(T)};
}

#define FIELD(Params, name) FieldOf<decltype(Params::name)>(#name, offsetof(Params, name))

template <typename Params>
const Params kDefaults = {};

template <typename Params, kernels::Status (*kLaunch)(const Params&, kernels::StreamHandle),
          size_t kCount>
Operation OperationOf(const char* name, const Field (&fields)[kCount]) {
  return {name,
          &kDefaults<Params>,
          sizeof(Params),
          fields,
          kCount,
          [](const void* params, kernels::StreamHandle stream) {
            return kLaunch(*static_cast<const Params*>(params), stream);
          }};
}

using kernels::AttentionParams;
const Field kAttention[] = {FIELD(AttentionParams, qkv),        FIELD(AttentionParams, cu_lengths),
                            FIELD(AttentionParams, out),        FIELD(AttentionParams, dtype),
                            FIELD(AttentionParams, sequences),  FIELD(AttentionParams, tokens),
                            FIELD(AttentionParams, max_length), FIELD(AttentionParams, heads),
                            FIELD(AttentionParams, head_size),  FIELD(AttentionParams, scale)};

using kernels::BiasActivationParams;
const Field kBiasActivation[] = {FIELD(BiasActivationParams, x),
                                 FIELD(BiasActivationParams, bias),
                                 FIELD(BiasActivationParams, residual),
                                 FIELD(BiasActivationParams, dtype),
                                 FIELD(BiasActivationParams, activation),
                                 FIELD(BiasActivationParams, rows),
                                 FIELD(BiasActivationParams, columns),
                                 FIELD(BiasActivationParams, stride),
                                 FIELD(BiasActivationParams, residual_stride)};

using kernels::ContextPoolParams;
const Field kContextPool[] = {FIELD(ContextPoolParams, x),
                              FIELD(ContextPoolParams, log_weight),
                              FIELD(ContextPoolParams, support_size),
                              FIELD(ContextPoolParams, cu_lengths),
                              FIELD(ContextPoolParams, out),
                              FIELD(ContextPoolParams, tiles),
                              FIELD(ContextPoolParams, dtype),
                              FIELD(ContextPoolParams, residual),
                              FIELD(ContextPoolParams, skip_bits),
                              FIELD(ContextPoolParams, sequences),
                              FIELD(ContextPoolParams, tokens),
                              FIELD(ContextPoolParams, max_length),
                              FIELD(ContextPoolParams, prefix),
                              FIELD(ContextPoolParams, grid_width),
                              FIELD(ContextPoolParams, columns),
                              FIELD(ContextPoolParams, x_stride),
                              FIELD(ContextPoolParams, out_stride)};

using kernels::ContextPoolSupportParams;
const Field kContextPoolSupport[] = {
    FIELD(ContextPoolSupportParams, taps),       FIELD(ContextPoolSupportParams, conv2_weight),
    FIELD(ContextPoolSupportParams, conv2_bias), FIELD(ContextPoolSupportParams, cu_lengths),
    FIELD(ContextPoolSupportParams, log_weight), FIELD(ContextPoolSupportParams, support_size),
    FIELD(ContextPoolSupportParams, dtype),      FIELD(ContextPoolSupportParams, weight),
    FIELD(ContextPoolSupportParams, size),       FIELD(ContextPoolSupportParams, r),
    FIELD(ContextPoolSupportParams, sequences),  FIELD(ContextPoolSupportParams, tokens),
    FIELD(ContextPoolSupportParams, grid_width), FIELD(ContextPoolSupportParams, kernel_size),
    FIELD(ContextPoolSupportParams, bottleneck), FIELD(ContextPoolSupportParams, taps_stride)};

using kernels::EmbeddingParams;
const Field kEmbedding[] = {FIELD(EmbeddingParams, ids),        FIELD(EmbeddingParams, cu_lengths),
                            FIELD(EmbeddingParams, words),      FIELD(EmbeddingParams, positions),
                            FIELD(EmbeddingParams, token_type), FIELD(EmbeddingParams, gamma),
                            FIELD(EmbeddingParams, beta),       FIELD(EmbeddingParams, out),
                            FIELD(EmbeddingParams, dtype),      FIELD(EmbeddingParams, sequences),
                            FIELD(EmbeddingParams, tokens),     FIELD(EmbeddingParams, columns),
                            FIELD(EmbeddingParams, eps)};

using kernels::Im2ColParams;
const Field kIm2Col[] = {FIELD(Im2ColParams, pixels),        FIELD(Im2ColParams, scale),
                         FIELD(Im2ColParams, offset),        FIELD(Im2ColParams, out),
                         FIELD(Im2ColParams, dtype),         FIELD(Im2ColParams, window.size),
                         FIELD(Im2ColParams, window.stride), FIELD(Im2ColParams, height),
                         FIELD(Im2ColParams, width),         FIELD(Im2ColParams, channels),
                         FIELD(Im2ColParams, rows)};

using kernels::LayerNormParams;
const Field kLayerNorm[] = {FIELD(LayerNormParams, x),
                            FIELD(LayerNormParams, bias),
                            FIELD(LayerNormParams, residual),
                            FIELD(LayerNormParams, gamma),
                            FIELD(LayerNormParams, beta),
                            FIELD(LayerNormParams, out),
                            FIELD(LayerNormParams, dtype),
                            FIELD(LayerNormParams, rows),
                            FIELD(LayerNormParams, columns),
                            FIELD(LayerNormParams, x_stride),
                            FIELD(LayerNormParams, residual_stride),
                            FIELD(LayerNormParams, out_stride),
                            FIELD(LayerNormParams, eps)};

using kernels::PatchTokensParams;
const Field kPatchTokens[] = {FIELD(PatchTokensParams, patches), FIELD(PatchTokensParams, table),
                              FIELD(PatchTokensParams, out),     FIELD(PatchTokensParams, dtype),
                              FIELD(PatchTokensParams, images),  FIELD(PatchTokensParams, tokens),
                              FIELD(PatchTokensParams, prefix),  FIELD(PatchTokensParams, columns)};

using kernels::PoolParams;
const Field kPool[] = {FIELD(PoolParams, x),         FIELD(PoolParams, segments),
                       FIELD(PoolParams, out),       FIELD(PoolParams, dtype),
                       FIELD(PoolParams, out_dtype), FIELD(PoolParams, segment_count),
                       FIELD(PoolParams, columns)};

const Operation kOperations[] = {
    OperationOf<AttentionParams, backend::Attention>("attention", kAttention),
    OperationOf<BiasActivationParams, backend::BiasActivation>("bias_activation", kBiasActivation),
    OperationOf<ContextPoolParams, backend::ContextPool>("context_pool", kContextPool),
    OperationOf<ContextPoolSupportParams, backend::ContextPoolSupport>("context_pool_support",
                                                                       kContextPoolSupport),
    OperationOf<EmbeddingParams, backend::Embedding>("embedding", kEmbedding),
    OperationOf<Im2ColParams, backend::Im2Col>("im2col", kIm2Col),
    OperationOf<LayerNormParams, backend::LayerNorm>("layer_norm", kLayerNorm),
    OperationOf<PatchTokensParams, backend::PatchTokens>("patch_tokens", kPatchTokens),
    OperationOf<PoolParams, backend::Pool>("pool", kPool),
};

}  // namespace
}  // namespace contextpool::gpu_check

using contextpool::gpu_check::kOperations;

const contextpool::gpu_check::Operation* gpu_check_operation(int index) {
  return index < static_cast<int>(std::size(kOperations)) ? &kOperations[index] : nullptr;
}

int gpu_check_launch(int index, const void* params, void* stream, char* error, size_t error_bytes) {
  const std::string wrong =
      contextpool::gpu_check::Launch(kOperations[index].launch, params, stream);
  if (wrong.empty()) return 0;
  contextpool::gpu_check::CopyError(wrong, error, error_bytes);
  return 1;
}

void gpu_check_register(const void* data, size_t bytes) {
  contextpool::gpu_check::Register(data, bytes);
}

void gpu_check_unregister(const void* data) { contextpool::gpu_check::Unregister(data); }
