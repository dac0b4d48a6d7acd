#include "engine/model/readout.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"

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

}  // namespace

Readout::Readout(ReadoutConfig config, int64_t expected_sequences, Device& device)
    : config_(std::move(config)), device_(device) {
  // An embedded sequence may have a pick, too.
  segments_.reserve(expected_sequences * std::max<int64_t>(parts(), 2));
}

size_t Readout::WorkspaceBytes(int64_t sequences) const {
  const int64_t rows = sequences * parts();
  size_t bytes = Arena::Padded((rows + 2 * sequences) * sizeof(kernels::PoolSegment)) +
                 Arena::FloatBytes(sequences, config_.hidden_size) +
                 Arena::Bytes(device_.dtype(), rows, config_.hidden_size);
  if (config_.pooler != nullptr) {
    bytes += Arena::FloatBytes(2 * sequences, config_.hidden_size) +
             Arena::Bytes(device_.dtype(), sequences, config_.hidden_size);
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
    const bool normalize = output.normalize && output.pooling != Pooling::kPooler;
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

void Readout::AddPicks(const PackedBatch& batch, int32_t embedded) {
  int32_t row = 0;
  for (const OutputSpec& output : batch.outputs) {
    if (output.task != TaskKind::kEmbed) continue;
    const bool pooled = output.pooling == Pooling::kPooler;
    const int32_t from = pooled ? embedded + row : row;
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
  result.pools = absl::c_any_of(batch.outputs, [](const OutputSpec& output) {
    return output.task == TaskKind::kEmbed && output.pooling == Pooling::kPooler;
  });
  if (result.pools) AddPicks(batch, static_cast<int32_t>(result.embedded));
  const size_t bytes = segments_.size() * sizeof(kernels::PoolSegment);
  auto* place = static_cast<kernels::PoolSegment*>(workspace.Allocate(bytes));
  device_.CopyToDevice(place, segments_.data(), bytes);
  result.segments = place;
  return result;
}

TensorView Readout::Embeddings(const ReadoutSegments& segments, const TensorView& hidden,
                               Arena& workspace) const {
  const int64_t count = segments.embedded, columns = config_.hidden_size;
  if (count == 0) return {};
  const TensorView rows = workspace.Tensor(DType::kF32, {count, columns});
  if (!segments.pools) {
    device_.Pool(hidden, segments.segments, rows);
    return rows;
  }
  // Every row as it was read, then every row through the pooler, of which the picks take one each.
  const TensorView both = workspace.Tensor(DType::kF32, {2 * count, columns});
  const TensorView read(both.data, DType::kF32, {count, columns});
  const TensorView pooled(both.as<float>() + count * columns, DType::kF32, {count, columns});
  const TensorView entering = workspace.Tensor(device_.dtype(), {count, columns});
  device_.Pool(hidden, segments.segments, read);
  device_.Pool(hidden, segments.segments, entering);
  device_.Linear(entering, *config_.pooler, kernels::Activation::kTanh, pooled);
  device_.Pool(both, segments.segments + count + segments.classified * parts(), rows);
  return rows;
}

TensorView Readout::ClassifierInput(const ReadoutSegments& segments, const TensorView& hidden,
                                    Arena& workspace) const {
  const int64_t rows = segments.classified * parts();
  const TensorView vectors = workspace.Tensor(device_.dtype(), {rows, config_.hidden_size});
  device_.Pool(hidden, segments.segments + segments.embedded, vectors);
  return TensorView(vectors.data, vectors.dtype,
                    {segments.classified, parts() * config_.hidden_size});
}

}  // namespace contextpool::engine
