// The layers that text and image encoders share: attention and feed-forward blocks with residuals,
// normalised before or after, with or without ContextPool.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/base/packed_batch.h"
#include "engine/device/arena.h"
#include "engine/device/device.h"
#include "engine/model/model.h"
#include "engine/model/transformer_config.h"

namespace contextpool::engine {

// Where the blocks f of a layer have their LayerNorm.
enum class NormPlacement : uint8_t {
  // h = LayerNorm(h + f(h)), as in BERT.
  kAfter,
  // h = h + f(LayerNorm(h)), as in ViT.
  kBefore,
};

// One layer's weights on the device.
struct TransformerLayer {
  // Query, key and value in one projection: [3 * hidden, hidden].
  std::unique_ptr<LinearWeight> qkv;
  std::unique_ptr<LinearWeight> attention_output;
  LayerNormWeights attention_norm;
  std::unique_ptr<LinearWeight> intermediate;
  std::unique_ptr<LinearWeight> output;
  LayerNormWeights feed_forward_norm;
  std::optional<ContextPoolWeights> context_pool;
};

// A batch on its way through the layers. Each step reads `hidden` and writes `next`.
struct TransformerState {
  Sequences sequences;
  TensorView hidden;  // [tokens, hidden_size]
  TensorView next;
  // Workspace of one operation at a time.
  TensorView scratch;
  // As ModelOutput has them.
  TensorView support;
  kernels::ContextPoolTiles* tiles = nullptr;

  int64_t tokens() const { return hidden.shape[0]; }
  void Advance() { std::swap(hidden, next); }
};

class Transformer {
 public:
  // REQUIRES: as many layers as `config` says, ContextPool in those that it lists.
  Transformer(const TransformerConfig& config, NormPlacement norms,
              std::vector<TransformerLayer> layers, Device& device);

  // Bytes of arena that Begin and Run need, and in between the caller: `embedding_bytes`, which it
  // gives back. `longest`: the longest sequence that may come.
  size_t WorkspaceBytes(const BatchLimits& limits, int64_t longest, size_t embedding_bytes) const;

  // Copies the batch's lengths to the device. `hidden` is for the caller to fill, `next` for it to
  // use meanwhile.
  TransformerState Begin(const PackedBatch& batch, Arena& workspace) const;

  // All layers.
  void Run(TransformerState& state, Arena& workspace) const;

 private:
  size_t ScratchBytes(int64_t max_length) const;
  void Attend(const TransformerLayer& layer, TransformerState& state, Arena& workspace) const;
  void FeedForward(const TransformerLayer& layer, TransformerState& state, Arena& workspace) const;
  void AddResidual(const TensorView& x, const LinearWeight& weight, const LayerNormWeights& norm,
                   TransformerState& state) const;
  const TensorView& BlockInput(const LayerNormWeights& norm, const TransformerState& state) const;
  void PoolContext(const ContextPoolWeights& weights, int64_t index, TransformerState& state,
                   Arena& workspace) const;

  const int64_t hidden_size_;
  const int64_t intermediate_size_;
  const AttentionShape attention_;
  const kernels::Activation activation_;
  const NormPlacement norms_;
  const ContextPoolConfig context_pool_;
  const std::vector<TransformerLayer> layers_;
  Device& device_;
};

}  // namespace contextpool::engine
