#include "engine/model/bert.h"

#include <algorithm>
#include <initializer_list>
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
  const kernels::PoolSegment* segments = nullptr;
  int64_t segment_count = 0;
  // int32 [classified]: each one's first token.
  TensorView first_rows;
  TensorView attention_workspace;
};

BertModel::BertModel(ModelInfo info, EncoderConfig config, BertWeights weights,
                     int64_t expected_sequences, Device& device)
    : info_(std::move(info)),
      config_(std::move(config)),
      weights_(std::move(weights)),
      device_(device) {
  segments_.reserve(expected_sequences);
  first_rows_.reserve(expected_sequences);
}

size_t BertModel::WorkspaceBytes(const BatchLimits& limits) const {
  const int64_t hidden = config_.hidden_size;
  const AttentionShape shape = {config_.heads, config_.head_size()};
  const int64_t longest = std::min<int64_t>(limits.tokens, config_.max_positions);
  const size_t inputs = FloatBytes(limits.tokens, 1) + FloatBytes(limits.sequences + 1, 1) +
                        Arena::Padded(limits.sequences * sizeof(kernels::PoolSegment)) +
                        FloatBytes(limits.sequences, 1) +
                        Arena::Padded(device_.AttentionWorkspaceBytes(longest, shape));
  const size_t attention =
      FloatBytes(limits.tokens, 3 * hidden) + FloatBytes(limits.tokens, hidden);
  const size_t feed_forward = FloatBytes(limits.tokens, config_.intermediate_size);
  const size_t outputs = 3 * FloatBytes(limits.sequences, hidden) +
                         FloatBytes(limits.sequences, static_cast<int64_t>(config_.labels.size()));
  return inputs + 2 * FloatBytes(limits.tokens, hidden) + std::max(attention, feed_forward) +
         outputs;
}

BertModel::Inputs BertModel::CopyInputs(const PackedBatch& batch, Arena& workspace) const {
  segments_.clear();
  first_rows_.clear();
  for (int32_t i = 0; i < batch.sequences(); ++i) {
    const OutputSpec& output = batch.outputs[i];
    const int32_t begin = batch.cu_lengths[i];
    if (output.task == TaskKind::kClassify) {
      first_rows_.push_back(begin);
    } else {
      segments_.push_back({begin, batch.cu_lengths[i + 1], ToKernel(output.pooling),
                           static_cast<int32_t>(output.normalize)});
    }
  }
  const auto copy = [&](const void* host, size_t bytes) {
    void* place = workspace.Allocate(bytes);
    device_.CopyToDevice(place, host, bytes);
    return place;
  };
  const auto copy_ints = [&](std::span<const int32_t> ints) {
    return TensorView(copy(ints.data(), ints.size_bytes()), DType::kI32,
                      {static_cast<int64_t>(ints.size())});
  };
  const size_t attention_bytes =
      device_.AttentionWorkspaceBytes(batch.max_length, {config_.heads, config_.head_size()});
  Inputs inputs;
  inputs.ids = copy_ints(batch.token_ids);
  inputs.sequences = {copy_ints(batch.cu_lengths), batch.max_length};
  inputs.segments = static_cast<const kernels::PoolSegment*>(
      copy(segments_.data(), segments_.size() * sizeof(kernels::PoolSegment)));
  inputs.segment_count = static_cast<int64_t>(segments_.size());
  inputs.first_rows = copy_ints(first_rows_);
  inputs.attention_workspace =
      workspace.Tensor(DType::kU8, {static_cast<int64_t>(attention_bytes)});
  return inputs;
}

// Replaces `hidden` by the layer's output; `attended` is room for the half-way state.
void BertModel::RunLayer(const BertLayer& layer, const Inputs& inputs, const TensorView& hidden,
                         const TensorView& attended, Arena& workspace) const {
  const int64_t tokens = hidden.shape[0];
  const int64_t width = config_.hidden_size;
  const size_t mark = workspace.used();
  const TensorView qkv = workspace.Tensor(DType::kF32, {tokens, 3 * width});
  const TensorView context = workspace.Tensor(DType::kF32, {tokens, width});
  device_.Linear(hidden, *layer.qkv, kernels::Activation::kNone, qkv);
  device_.Attention(qkv, inputs.sequences, {config_.heads, config_.head_size()},
                    inputs.attention_workspace, context);
  device_.LinearResidualLayerNorm(context, *layer.attention_output, hidden, layer.attention_norm,
                                  attended);

  workspace.Rewind(mark);
  const TensorView inner = workspace.Tensor(DType::kF32, {tokens, config_.intermediate_size});
  device_.Linear(attended, *layer.intermediate, ToKernel(config_.activation), inner);
  device_.LinearResidualLayerNorm(inner, *layer.output, attended, layer.output_norm, hidden);
  workspace.Rewind(mark);
}

TensorView BertModel::Classify(const TensorView& hidden, const TensorView& rows,
                               Arena& workspace) const {
  const int64_t count = rows.shape[0];
  const TensorView first = workspace.Tensor(DType::kF32, {count, config_.hidden_size});
  const TensorView pooled = workspace.Tensor(DType::kF32, {count, config_.hidden_size});
  const TensorView logits =
      workspace.Tensor(DType::kF32, {count, static_cast<int64_t>(config_.labels.size())});
  device_.GatherRows(hidden, rows, first);
  device_.Linear(first, *weights_.pooler, kernels::Activation::kTanh, pooled);
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
  if (inputs.first_rows.shape[0] > 0 && !config_.classifies()) {
    return absl::InternalError(absl::StrCat("model ", info_.name, " has no classifier"));
  }
  const int64_t tokens = batch.total_tokens();
  const TensorView hidden = workspace.Tensor(DType::kF32, {tokens, config_.hidden_size});
  const TensorView attended = workspace.Tensor(DType::kF32, {tokens, config_.hidden_size});
  device_.Embedding(inputs.ids, inputs.sequences, weights_.embeddings, hidden);
  for (const BertLayer& layer : weights_.layers) {
    RunLayer(layer, inputs, hidden, attended, workspace);
  }
  ModelOutput output;
  if (inputs.segment_count > 0) {
    output.embeddings = workspace.Tensor(DType::kF32, {inputs.segment_count, config_.hidden_size});
    device_.Pool(hidden, inputs.segments, output.embeddings);
  }
  if (inputs.first_rows.shape[0] > 0) {
    output.logits = Classify(hidden, inputs.first_rows, workspace);
  }
  return output;
}

}  // namespace contextpool::engine
