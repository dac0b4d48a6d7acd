#include "engine/model/bert.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

kernels::Activation ToKernel(Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return kernels::Activation::kGelu;
    case Activation::kGeluTanh:
      return kernels::Activation::kGeluTanh;
    case Activation::kRelu:
      return kernels::Activation::kRelu;
  }
  return kernels::Activation::kGelu;
}

kernels::PoolMode ToKernel(Pooling pooling) {
  switch (pooling) {
    case Pooling::kMean:
      return kernels::PoolMode::kMean;
    case Pooling::kCls:
      return kernels::PoolMode::kFirst;
    case Pooling::kMax:
      return kernels::PoolMode::kMax;
    case Pooling::kLastToken:
      return kernels::PoolMode::kLast;
  }
  return kernels::PoolMode::kMean;
}

size_t FloatBytes(int64_t rows, int64_t columns) {
  return Arena::Padded(static_cast<size_t>(rows * columns) * sizeof(float));
}

}  // namespace

// What the layers need to know of the batch, on the device.
struct BertModel::Inputs {
  TensorView ids;
  Sequences sequences;
  // [embedded], then [classified].
  const kernels::PoolSegment* segments = nullptr;
  int64_t embedded = 0;
  int64_t classified = 0;
  // Workspace of one operation at a time.
  TensorView scratch;
};

// What the layers have computed so far. Each step reads `hidden` and writes `next`.
struct BertModel::State {
  TensorView hidden;  // [tokens, hidden_size]
  TensorView next;
  TensorView support;  // [context_pool_layers, 2, tokens]
  kernels::ContextPoolTiles* tiles = nullptr;

  void Advance() { std::swap(hidden, next); }
};

BertModel::BertModel(ModelInfo info, EncoderConfig config, BertWeights weights,
                     int64_t expected_sequences, Device& device)
    : info_(std::move(info)),
      config_(std::move(config)),
      weights_(std::move(weights)),
      device_(device) {
  segments_.reserve(expected_sequences);
}

size_t BertModel::ScratchBytes(int64_t max_length) const {
  const size_t attention =
      device_.AttentionWorkspaceBytes(max_length, {config_.heads, config_.head_size()});
  if (!config_.pools()) return attention;
  return std::max(attention, device_.ContextPoolWorkspaceBytes(max_length, config_.hidden_size));
}

size_t BertModel::WorkspaceBytes(const BatchLimits& limits) const {
  const int64_t hidden = config_.hidden_size;
  const int64_t longest = std::min<int64_t>(limits.tokens, config_.max_positions);
  const size_t inputs = FloatBytes(limits.tokens, 1) + FloatBytes(limits.sequences + 1, 1) +
                        Arena::Padded(limits.sequences * sizeof(kernels::PoolSegment)) +
                        Arena::Padded(ScratchBytes(longest));
  const size_t attention =
      FloatBytes(limits.tokens, 3 * hidden) + FloatBytes(limits.tokens, hidden);
  size_t step = std::max(attention, FloatBytes(limits.tokens, config_.intermediate_size));
  size_t outputs = 3 * FloatBytes(limits.sequences, hidden) +
                   FloatBytes(limits.sequences, static_cast<int64_t>(config_.labels.size()));
  if (config_.pools()) {
    step = std::max(step, FloatBytes(limits.tokens, config_.context_pool.taps()));
    outputs +=
        FloatBytes(limits.tokens, 2 * static_cast<int64_t>(config_.context_pool.layers.size())) +
        Arena::Padded(sizeof(kernels::ContextPoolTiles));
  }
  return inputs + 2 * FloatBytes(limits.tokens, hidden) + step + outputs;
}

BertModel::Inputs BertModel::CopyInputs(const PackedBatch& batch, Arena& workspace) const {
  segments_.clear();
  const auto add = [&](TaskKind task) {
    const size_t before = segments_.size();
    for (int32_t i = 0; i < batch.sequences(); ++i) {
      const OutputSpec& output = batch.outputs[i];
      if (output.task != task) continue;
      const bool classify = task == TaskKind::kClassify;
      segments_.push_back({batch.cu_lengths[i], batch.cu_lengths[i + 1],
                           ToKernel(classify ? config_.classifier_pooling : output.pooling),
                           static_cast<int32_t>(!classify && output.normalize)});
    }
    return static_cast<int64_t>(segments_.size() - before);
  };
  const auto copy = [&](const void* host, size_t bytes) {
    void* place = workspace.Allocate(bytes);
    device_.CopyToDevice(place, host, bytes);
    return place;
  };
  const auto copy_ints = [&](std::span<const int32_t> ints) {
    return TensorView(copy(ints.data(), ints.size_bytes()), DType::kI32,
                      {static_cast<int64_t>(ints.size())});
  };
  Inputs inputs;
  inputs.ids = copy_ints(batch.token_ids);
  inputs.sequences = {copy_ints(batch.cu_lengths), batch.max_length};
  inputs.embedded = add(TaskKind::kEmbed);
  inputs.classified = add(TaskKind::kClassify);
  inputs.segments = static_cast<const kernels::PoolSegment*>(
      copy(segments_.data(), segments_.size() * sizeof(kernels::PoolSegment)));
  inputs.scratch =
      workspace.Tensor(DType::kU8, {static_cast<int64_t>(ScratchBytes(batch.max_length))});
  return inputs;
}

BertModel::State BertModel::MakeState(int64_t tokens, Arena& workspace) const {
  State state;
  state.hidden = workspace.Tensor(DType::kF32, {tokens, config_.hidden_size});
  state.next = workspace.Tensor(DType::kF32, {tokens, config_.hidden_size});
  if (config_.pools()) {
    static constexpr kernels::ContextPoolTiles kNone;
    const auto layers = static_cast<int64_t>(config_.context_pool.layers.size());
    state.support = workspace.Tensor(DType::kF32, {layers, 2, tokens});
    state.tiles = static_cast<kernels::ContextPoolTiles*>(workspace.Allocate(sizeof(kNone)));
    device_.CopyToDevice(state.tiles, &kNone, sizeof(kNone));
  }
  return state;
}

void BertModel::Attend(const BertLayer& layer, const Inputs& inputs, State& state,
                       Arena& workspace) const {
  const int64_t tokens = state.hidden.shape[0];
  const int64_t width = config_.hidden_size;
  const size_t mark = workspace.used();
  const TensorView qkv = workspace.Tensor(DType::kF32, {tokens, 3 * width});
  const TensorView context = workspace.Tensor(DType::kF32, {tokens, width});
  device_.Linear(state.hidden, *layer.qkv, kernels::Activation::kNone, qkv);
  device_.Attention(qkv, inputs.sequences, {config_.heads, config_.head_size()}, inputs.scratch,
                    context);
  device_.LinearResidualLayerNorm(context, *layer.attention_output, state.hidden,
                                  layer.attention_norm, state.next);
  workspace.Rewind(mark);
  state.Advance();
}

void BertModel::FeedForward(const BertLayer& layer, State& state, Arena& workspace) const {
  const size_t mark = workspace.used();
  const TensorView inner =
      workspace.Tensor(DType::kF32, {state.hidden.shape[0], config_.intermediate_size});
  device_.Linear(state.hidden, *layer.intermediate, ToKernel(config_.activation), inner);
  device_.LinearResidualLayerNorm(inner, *layer.output, state.hidden, layer.output_norm,
                                  state.next);
  workspace.Rewind(mark);
  state.Advance();
}

// `index`: among the layers with ContextPool.
void BertModel::PoolContext(const ContextPoolWeights& weights, int64_t index, const Inputs& inputs,
                            State& state, Arena& workspace) const {
  const ContextPoolOptions& options = config_.context_pool.options;
  const int64_t tokens = state.hidden.shape[0];
  const TensorView support(state.support.as<float>() + index * 2 * tokens, DType::kF32,
                           {2, tokens});
  const size_t mark = workspace.used();
  TensorView taps;
  if (weights.conv1 != nullptr) {
    taps = workspace.Tensor(DType::kF32, {tokens, weights.conv1->out_columns()});
    device_.Linear(state.hidden, *weights.conv1, kernels::Activation::kNone, taps);
  }
  device_.ContextPoolSupport(taps, inputs.sequences, options, weights, support);
  device_.ContextPool(state.hidden, support, inputs.sequences, options, weights, inputs.scratch,
                      state.tiles, state.next);
  workspace.Rewind(mark);
  state.Advance();
}

void BertModel::RunLayers(const Inputs& inputs, State& state, Arena& workspace) const {
  const bool early = config_.context_pool.placement == ContextPoolPlacement::kAfterAttention;
  int64_t pooled = 0;
  for (const BertLayer& layer : weights_.layers) {
    const bool pools = layer.context_pool.has_value();
    Attend(layer, inputs, state, workspace);
    if (pools && early) PoolContext(*layer.context_pool, pooled++, inputs, state, workspace);
    FeedForward(layer, state, workspace);
    if (pools && !early) PoolContext(*layer.context_pool, pooled++, inputs, state, workspace);
  }
}

TensorView BertModel::Classify(const Inputs& inputs, const TensorView& hidden,
                               Arena& workspace) const {
  const int64_t count = inputs.classified;
  const TensorView read = workspace.Tensor(DType::kF32, {count, config_.hidden_size});
  const TensorView pooled = workspace.Tensor(DType::kF32, {count, config_.hidden_size});
  const TensorView logits =
      workspace.Tensor(DType::kF32, {count, static_cast<int64_t>(config_.labels.size())});
  device_.Pool(hidden, inputs.segments + inputs.embedded, read);
  device_.Linear(read, *weights_.pooler, kernels::Activation::kTanh, pooled);
  device_.Linear(pooled, *weights_.classifier, kernels::Activation::kNone, logits);
  return logits;
}

absl::StatusOr<ModelOutput> BertModel::Forward(const PackedBatch& batch, Arena& workspace) const {
  const size_t needed = WorkspaceBytes({batch.total_tokens(), batch.sequences()});
  if (workspace.used() != 0 || workspace.capacity() < needed) {
    return absl::InternalError(absl::StrCat("model ", info_.name, ": a batch of ",
                                            batch.total_tokens(), " tokens needs ", needed,
                                            " bytes of workspace"));
  }
  const Inputs inputs = CopyInputs(batch, workspace);
  if (inputs.classified > 0 && !config_.classifies()) {
    return absl::InternalError(absl::StrCat("model ", info_.name, " has no classifier"));
  }
  State state = MakeState(batch.total_tokens(), workspace);
  device_.Embedding(inputs.ids, inputs.sequences, weights_.embeddings, state.hidden);
  RunLayers(inputs, state, workspace);
  ModelOutput output;
  output.context_pool = state.support;
  output.context_pool_tiles = state.tiles;
  if (inputs.embedded > 0) {
    output.embeddings = workspace.Tensor(DType::kF32, {inputs.embedded, config_.hidden_size});
    device_.Pool(state.hidden, inputs.segments, output.embeddings);
  }
  if (inputs.classified > 0) output.logits = Classify(inputs, state.hidden, workspace);
  return output;
}

}  // namespace contextpool::engine
