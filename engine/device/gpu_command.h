// One operation of a GPU's stream as a value, so that two passes can be compared.
#pragma once

#include <cstddef>
#include <utility>
#include <variant>
#include <vector>

#include "engine/device/gpu_runtime.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/context_pool.h"
#include "kernels/embedding.h"
#include "kernels/im2col.h"
#include "kernels/layer_norm.h"
#include "kernels/patch_tokens.h"
#include "kernels/pool.h"

namespace contextpool::engine {

// `host` is page-locked memory.
struct GpuCopyIn {
  void* device = nullptr;
  char* host = nullptr;
  size_t bytes = 0;

  bool operator==(const GpuCopyIn&) const = default;
};

struct GpuCopyOut {
  char* host = nullptr;
  const void* device = nullptr;
  size_t bytes = 0;

  bool operator==(const GpuCopyOut&) const = default;
};

using GpuCommand =
    std::variant<GpuCopyIn, GpuCopyOut, GpuGemmParams, kernels::AttentionParams,
                 kernels::BiasActivationParams, kernels::ContextPoolParams,
                 kernels::ContextPoolSupportParams, kernels::EmbeddingParams, kernels::Im2ColParams,
                 kernels::LayerNormParams, kernels::PatchTokensParams, kernels::PoolParams>;

// Everything between two Synchronize. Equal passes compute the same from the same places in memory.
using GpuPass = std::vector<GpuCommand>;

// A hash of what passes differ in: their kinds of operations and the sizes and places of products.
inline size_t HashOf(const GpuPass& pass) {
  size_t hash = pass.size();
  const auto mix = [&hash](size_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
  };
  for (const GpuCommand& command : pass) {
    mix(command.index());
    if (const auto* product = std::get_if<GpuGemmParams>(&command)) {
      mix(reinterpret_cast<size_t>(product->weight));
      mix(static_cast<size_t>(product->rows));
    }
  }
  return hash;
}

}  // namespace contextpool::engine
