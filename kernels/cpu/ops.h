// The implementations behind each launch function. Arguments were checked by the launch.
#pragma once

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/context_pool.h"
#include "kernels/cpu_stream.h"
#include "kernels/embedding.h"
#include "kernels/im2col.h"
#include "kernels/layer_norm.h"
#include "kernels/linear.h"
#include "kernels/max_pool.h"
#include "kernels/patch_tokens.h"
#include "kernels/pool.h"

namespace contextpool::kernels::cpu {

namespace reference {
void BiasActivation(const BiasActivationParams& params, CpuStream& stream);
void LayerNorm(const LayerNormParams& params, CpuStream& stream);
void Embedding(const EmbeddingParams& params, CpuStream& stream);
void Attention(const AttentionParams& params, CpuStream& stream);
void Im2Col(const Im2ColParams& params, CpuStream& stream);
void MaxPool(const MaxPoolParams& params, CpuStream& stream);
void PatchTokens(const PatchTokensParams& params, CpuStream& stream);
void Pool(const PoolParams& params, CpuStream& stream);
void Linear(const LinearParams& params, CpuStream& stream);
void ContextPoolSupport(const ContextPoolSupportParams& params, CpuStream& stream);
void ContextPool(const ContextPoolParams& params, CpuStream& stream);
}  // namespace reference

namespace avx2 {
void BiasActivation(const BiasActivationParams& params, CpuStream& stream);
void LayerNorm(const LayerNormParams& params, CpuStream& stream);
void Embedding(const EmbeddingParams& params, CpuStream& stream);
void Attention(const AttentionParams& params, CpuStream& stream);
void Im2Col(const Im2ColParams& params, CpuStream& stream);
void MaxPool(const MaxPoolParams& params, CpuStream& stream);
void PatchTokens(const PatchTokensParams& params, CpuStream& stream);
void Pool(const PoolParams& params, CpuStream& stream);
void Linear(const LinearParams& params, CpuStream& stream);
void ContextPoolSupport(const ContextPoolSupportParams& params, CpuStream& stream);
void ContextPool(const ContextPoolParams& params, CpuStream& stream);
}  // namespace avx2

}  // namespace contextpool::kernels::cpu
