#include "engine/model/transformer.h"

#include <algorithm>

#include "engine/model/context_pool_layer.h"

namespace contextpool::engine {

Transformer::Transformer(const TransformerConfig& config, NormPlacement norms,
                         std::vector<TransformerLayer> layers, Device& device)
    : hidden_size_(config.hidden_size),
      intermediate_size_(config.intermediate_size),
      attention_(config.attention()),
      activation_(config.activation),
      norms_(norms),
      context_pool_(config.context_pool),
      layers_(std::move(layers)),
      device_(device) {}

size_t Transformer::ScratchBytes(int64_t max_length) const {
  const size_t attention = device_.AttentionWorkspaceBytes(max_length, attention_);
  if (context_pool_.layers.empty()) return attention;
  return std::max(attention, device_.ContextPoolWorkspaceBytes(max_length, hidden_size_));
}

size_t Transformer::WorkspaceBytes(const BatchLimits& limits, int64_t longest,
                                   size_t embedding_bytes) const {
  const auto bytes = [&](int64_t columns) {
    return Arena::Bytes(device_.dtype(), limits.tokens, columns);
  };
  const size_t hidden = bytes(hidden_size_);
  const size_t scratch = Arena::Padded(ScratchBytes(std::min(limits.tokens, longest)));
  size_t step =
      std::max({embedding_bytes, bytes(3 * hidden_size_) + hidden, bytes(intermediate_size_)});
  size_t support = 0;
  if (!context_pool_.layers.empty()) {
    const auto layers = static_cast<int64_t>(context_pool_.layers.size());
    step = std::max(step, bytes(context_pool_.taps()));
    support = Arena::FloatBytes(limits.tokens, 2 * layers) +
              Arena::Padded(sizeof(kernels::ContextPoolTiles));
  }
  return Arena::FloatBytes(limits.sequences + 1, 1) + 2 * hidden + scratch + support + step;
}

TransformerState Transformer::Begin(const PackedBatch& batch, Arena& workspace) const {
  TransformerState state;
  const int64_t tokens = batch.total_tokens();
  state.hidden = workspace.Tensor(device_.dtype(), {tokens, hidden_size_});
  state.next = workspace.Tensor(device_.dtype(), {tokens, hidden_size_});
  state.scratch =
      workspace.Tensor(DType::kU8, {static_cast<int64_t>(ScratchBytes(batch.max_length))});
  const auto layers = static_cast<int64_t>(context_pool_.layers.size());
  if (layers > 0) state.support = workspace.Tensor(DType::kF32, {layers, 2, tokens});
  const TensorView lengths = workspace.Tensor(DType::kI32, {batch.sequences() + 1});
  device_.CopyToDevice(lengths.data, batch.cu_lengths.data(), batch.cu_lengths.size_bytes());
  state.sequences = {lengths, batch.max_length};
  if (layers > 0) state.tiles = NewContextPoolTiles(device_, workspace);
  return state;
}

void Transformer::Run(TransformerState& state, Arena& workspace) const {
  const bool early = context_pool_.placement == ContextPoolPlacement::kAfterAttention;
  int64_t pooled = 0;
  for (const TransformerLayer& layer : layers_) {
    const bool pools = layer.context_pool.has_value();
    Attend(layer, state, workspace);
    if (pools && early) PoolContext(*layer.context_pool, pooled++, state, workspace);
    FeedForward(layer, state, workspace);
    if (pools && !early) PoolContext(*layer.context_pool, pooled++, state, workspace);
  }
}

void Transformer::Attend(const TransformerLayer& layer, TransformerState& state,
                         Arena& workspace) const {
  const size_t mark = workspace.used();
  const TensorView qkv = workspace.Tensor(device_.dtype(), {state.tokens(), 3 * hidden_size_});
  const TensorView context = workspace.Tensor(device_.dtype(), {state.tokens(), hidden_size_});
  device_.Linear(BlockInput(layer.attention_norm, state), *layer.qkv, kernels::Activation::kNone,
                 qkv);
  device_.Attention(qkv, state.sequences, attention_, state.scratch, context);
  AddResidual(context, *layer.attention_output, layer.attention_norm, state);
  workspace.Rewind(mark);
}

void Transformer::FeedForward(const TransformerLayer& layer, TransformerState& state,
                              Arena& workspace) const {
  const size_t mark = workspace.used();
  const TensorView inner = workspace.Tensor(device_.dtype(), {state.tokens(), intermediate_size_});
  device_.Linear(BlockInput(layer.feed_forward_norm, state), *layer.intermediate, activation_,
                 inner);
  AddResidual(inner, *layer.output, layer.feed_forward_norm, state);
  workspace.Rewind(mark);
}

// What a block reads. A normalised copy takes the place of `next` until the block's end writes it.
const TensorView& Transformer::BlockInput(const LayerNormWeights& norm,
                                          const TransformerState& state) const {
  if (norms_ == NormPlacement::kAfter) return state.hidden;
  device_.LayerNorm(state.hidden, norm, state.next);
  return state.next;
}

// The end of a block: its last projection and the residual.
void Transformer::AddResidual(const TensorView& x, const LinearWeight& weight,
                              const LayerNormWeights& norm, TransformerState& state) const {
  if (norms_ == NormPlacement::kAfter) {
    device_.LinearResidualLayerNorm(x, weight, state.hidden, norm, state.next);
  } else {
    device_.LinearResidual(x, weight, state.hidden, state.next);
  }
  state.Advance();
}

// `index`: among the layers with ContextPool.
void Transformer::PoolContext(const ContextPoolWeights& weights, int64_t index,
                              TransformerState& state, Arena& workspace) const {
  const int64_t tokens = state.tokens();
  const TensorView support(state.support.as<float>() + index * 2 * tokens, DType::kF32,
                           {2, tokens});
  engine::PoolContext({.x = state.hidden,
                       .sequences = state.sequences,
                       .support = support,
                       .scratch = state.scratch,
                       .tiles = state.tiles,
                       .out = state.next},
                      context_pool_.options, weights, device_, workspace);
  state.Advance();
}

}  // namespace contextpool::engine
