// The kernels of a GPU: those that nvcc compiled, or the same source on the emulator.
#pragma once

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/context_pool.h"
#include "kernels/embedding.h"
#include "kernels/im2col.h"
#include "kernels/launch.h"
#include "kernels/layer_norm.h"
#include "kernels/patch_tokens.h"
#include "kernels/pool.h"

namespace contextpool::engine {

// What each takes is in its header, in the namespace `kernels::cuda`.
struct GpuKernels {
  template <typename Params>
  using Launch = kernels::Status (*)(const Params& params, kernels::StreamHandle stream);

  Launch<kernels::AttentionParams> attention;
  Launch<kernels::BiasActivationParams> bias_activation;
  Launch<kernels::ContextPoolParams> context_pool;
  Launch<kernels::ContextPoolSupportParams> context_pool_support;
  Launch<kernels::EmbeddingParams> embedding;
  Launch<kernels::Im2ColParams> im2col;
  Launch<kernels::LayerNormParams> layer_norm;
  Launch<kernels::PatchTokensParams> patch_tokens;
  Launch<kernels::PoolParams> pool;
};

}  // namespace contextpool::engine
