#include "engine/model/bert.h"

#include <utility>

namespace contextpool::engine {

BertModel::BertModel(ModelInfo info, const EncoderConfig& config, BertWeights weights,
                     int64_t expected_sequences, Device& device)
    : info_(std::move(info)),
      max_positions_(config.max_positions),
      embeddings_(weights.embeddings),
      pooler_(std::move(weights.pooler)),
      classifier_(std::move(weights.classifier)),
      memory_(std::move(weights.memory.buffers)),
      transformer_(config, NormPlacement::kAfter, std::move(weights.layers), device),
      readout_({.hidden_size = config.hidden_size,
                .classifier = {{.pooling = config.classifier_pooling}},
                .pooler = pooler_.get()},
               expected_sequences, device),
      device_(device) {}

size_t BertModel::WorkspaceBytes(const BatchLimits& limits) const {
  return readout_.WorkspaceBytes(limits.sequences) +
         Arena::Bytes(device_.dtype(), limits.sequences, info_.embedding_dimensions) +
         Arena::FloatBytes(limits.sequences, static_cast<int64_t>(info_.labels.size())) +
         transformer_.WorkspaceBytes(limits, max_positions_, Arena::FloatBytes(limits.tokens, 1));
}

void BertModel::Embed(const PackedBatch& batch, TransformerState& state, Arena& workspace) const {
  const size_t mark = workspace.used();
  const TensorView ids = workspace.Tensor(DType::kI32, {batch.total_tokens()});
  device_.CopyToDevice(ids.data, batch.token_ids.data(), batch.token_ids.size_bytes());
  device_.Embedding(ids, state.sequences, embeddings_, state.hidden);
  workspace.Rewind(mark);
}

TensorView BertModel::Classify(const ReadoutSegments& segments, const TensorView& hidden,
                               Arena& workspace) const {
  const int64_t count = segments.classified;
  const TensorView read = readout_.ClassifierInput(segments, hidden, workspace);
  const TensorView pooled = workspace.Tensor(device_.dtype(), {count, info_.embedding_dimensions});
  const TensorView logits =
      workspace.Tensor(DType::kF32, {count, static_cast<int64_t>(info_.labels.size())});
  device_.Linear(read, *pooler_, kernels::Activation::kTanh, pooled);
  device_.Linear(pooled, *classifier_, kernels::Activation::kNone, logits);
  return logits;
}

absl::StatusOr<ModelOutput> BertModel::Forward(const PackedBatch& batch, Arena& workspace) const {
  if (absl::Status status = CheckForward(*this, batch, workspace); !status.ok()) return status;
  // All that is copied to the device lies together.
  TransformerState state = transformer_.Begin(batch, workspace);
  const ReadoutSegments segments = readout_.CopySegments(batch, workspace);
  Embed(batch, state, workspace);
  transformer_.Run(state, workspace);
  ModelOutput output;
  output.context_pool = state.support;
  output.context_pool_tiles = state.tiles;
  output.embeddings = readout_.Embeddings(segments, state.hidden, workspace);
  if (segments.classified > 0) output.logits = Classify(segments, state.hidden, workspace);
  return output;
}

}  // namespace contextpool::engine
