#include "engine/model/readout.h"

#include <algorithm>
#include <utility>

namespace contextpool::engine {
namespace {

kernels::PoolMode ModeOf(Pooling pooling) {
  switch (pooling) {
    case Pooling::kMean:
      return kernels::PoolMode::kMean;
    case Pooling::kCls:
    case Pooling::kPooler:
      return kernels::PoolMode::kFirst;
    case Pooling::kMax:
      return kernels::PoolMode::kMax;
    case Pooling::kLastToken:
      return kernels::PoolMode::kLast;
  }
  return kernels::PoolMode::kMean;
}

bool IsPooled(const OutputSpec& output) {
  return output.task == TaskKind::kEmbed && output.pooling == Pooling::kPooler;
}

}  // namespace

Readout::Readout(ReadoutConfig config, int64_t expected_sequences, Device& device)
    : config_(std::move(config)), device_(device) {
  segments_.reserve(expected_sequences * std::max<int64_t>(parts(), 3));
}

size_t Readout::WorkspaceBytes(int64_t sequences) const {
  const int64_t columns = config_.hidden_size;
  const int64_t parts_read = sequences * parts();
  size_t bytes = Arena::Padded((parts_read + 3 * sequences) * sizeof(kernels::PoolSegment)) +
                 Arena::FloatBytes(sequences, columns) +
                 Arena::Bytes(device_.dtype(), parts_read, columns);
  if (config_.pooler != nullptr) {
    bytes += Arena::FloatBytes(2 * sequences, columns) +
             Arena::Bytes(device_.dtype(), sequences, columns);
  }
  return bytes;
}

void Readout::AddEmbedded(const PackedBatch& batch) {
  for (int32_t i = 0; i < batch.sequences(); ++i) {
    const OutputSpec& output = batch.outputs[i];
    if (output.task != TaskKind::kEmbed) continue;
    const kernels::PoolMode mode = ModeOf(output.pooling);
    const int32_t skipped = mode == kernels::PoolMode::kFirst ? 0 : config_.skipped;
    // What the pooler makes of a row is normalised, not the row.
    const bool normalize = output.normalize && !IsPooled(output);
    segments_.push_back({batch.cu_lengths[i] + skipped, batch.cu_lengths[i + 1], mode, normalize});
  }
}

void Readout::AddClassified(const PackedBatch& batch) {
  for (int32_t i = 0; i < batch.sequences(); ++i) {
    if (batch.outputs[i].task != TaskKind::kClassify) continue;
    for (const auto& [first, pooling] : config_.classifier) {
      segments_.push_back(
          {batch.cu_lengths[i] + first, batch.cu_lengths[i + 1], ModeOf(pooling), false});
    }
  }
}

void Readout::AddPooled(const PackedBatch& batch) {
  for (int32_t i = 0; i < batch.sequences(); ++i) {
    if (!IsPooled(batch.outputs[i])) continue;
    segments_.push_back(
        {batch.cu_lengths[i], batch.cu_lengths[i + 1], kernels::PoolMode::kFirst, false});
  }
}

// Of the rows that were read, with those that the pooler made behind them.
void Readout::AddChoices(const PackedBatch& batch, int32_t embedded) {
  int32_t row = 0;
  int32_t pooled_row = embedded;
  for (const OutputSpec& output : batch.outputs) {
    if (output.task != TaskKind::kEmbed) continue;
    const bool pooled = IsPooled(output);
    const int32_t from = pooled ? pooled_row++ : row;
    segments_.push_back({from, from + 1, kernels::PoolMode::kFirst, pooled && output.normalize});
    ++row;
  }
}

ReadoutSegments Readout::CopySegments(const PackedBatch& batch, Arena& workspace) {
  ReadoutSegments result;
  segments_.clear();
  AddEmbedded(batch);
  result.embedded = static_cast<int64_t>(segments_.size());
  AddClassified(batch);
  const auto read = static_cast<int64_t>(segments_.size());
  result.classified = (read - result.embedded) / parts();
  AddPooled(batch);
  result.pooled = static_cast<int64_t>(segments_.size()) - read;
  if (result.pooled > 0) AddChoices(batch, static_cast<int32_t>(result.embedded));
  const size_t bytes = segments_.size() * sizeof(kernels::PoolSegment);
  auto* place = static_cast<kernels::PoolSegment*>(workspace.Allocate(bytes));
  device_.CopyToDevice(place, segments_.data(), bytes);
  result.segments = place;
  return result;
}

TensorView Readout::Embeddings(const ReadoutSegments& segments, const TensorView& hidden,
                               Arena& workspace) const {
  const int64_t embedded = segments.embedded, columns = config_.hidden_size;
  if (embedded == 0) return {};
  const TensorView result = workspace.Tensor(DType::kF32, {embedded, columns});
  if (segments.pooled == 0) {
    device_.Pool(hidden, segments.segments, result);
    return result;
  }
  const kernels::PoolSegment* first_tokens =
      segments.segments + embedded + segments.classified * parts();
  const TensorView rows = workspace.Tensor(DType::kF32, {embedded + segments.pooled, columns});
  const TensorView read(rows.data, DType::kF32, {embedded, columns});
  const TensorView pooled(rows.as<float>() + embedded * columns, DType::kF32,
                          {segments.pooled, columns});
  const TensorView pooler_input = workspace.Tensor(device_.dtype(), {segments.pooled, columns});
  device_.Pool(hidden, segments.segments, read);
  device_.Pool(hidden, first_tokens, pooler_input);
  device_.Linear(pooler_input, *config_.pooler, kernels::Activation::kTanh, pooled);
  device_.Pool(rows, first_tokens + segments.pooled, result);
  return result;
}

TensorView Readout::ClassifierInput(const ReadoutSegments& segments, const TensorView& hidden,
                                    Arena& workspace) const {
  const int64_t rows = segments.classified * parts();
  const TensorView vectors = workspace.Tensor(device_.dtype(), {rows, config_.hidden_size});
  device_.Pool(hidden, segments.segments + segments.embedded, vectors);
  return TensorView(vectors.data, vectors.dtype,
                    {segments.classified, parts() * config_.hidden_size});
}

TensorView Readout::Logits(const ReadoutSegments& segments, const TensorView& hidden,
                           const LinearWeight& classifier, Arena& workspace) const {
  const TensorView read = ClassifierInput(segments, hidden, workspace);
  const TensorView logits =
      workspace.Tensor(DType::kF32, {segments.classified, classifier.out_columns()});
  device_.Linear(read, classifier, kernels::Activation::kNone, logits);
  return logits;
}

}  // namespace contextpool::engine
