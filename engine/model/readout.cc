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
  segments_.reserve(expected_sequences * parts());
}

size_t Readout::WorkspaceBytes(int64_t sequences) const {
  const int64_t rows = sequences * parts();
  return Arena::Padded(rows * sizeof(kernels::PoolSegment)) +
         Arena::FloatBytes(sequences, config_.hidden_size) +
         Arena::FloatBytes(rows, config_.hidden_size);
}

ReadoutSegments Readout::CopySegments(const PackedBatch& batch, Arena& workspace) {
  segments_.clear();
  const auto add = [&](int32_t sequence, const ReadoutPart& part, bool normalize) {
    segments_.push_back({batch.cu_lengths[sequence] + part.first, batch.cu_lengths[sequence + 1],
                         ModeOf(part.pooling), static_cast<int32_t>(normalize)});
  };
  ReadoutSegments result;
  for (int32_t i = 0; i < batch.sequences(); ++i) {
    const OutputSpec& output = batch.outputs[i];
    if (output.task != TaskKind::kEmbed) continue;
    const int32_t first = output.pooling == Pooling::kCls ? 0 : config_.skipped;
    add(i, {first, output.pooling}, output.normalize);
    ++result.embedded;
  }
  for (int32_t i = 0; i < batch.sequences(); ++i) {
    if (batch.outputs[i].task != TaskKind::kClassify) continue;
    for (const ReadoutPart& part : config_.classifier) add(i, part, false);
    ++result.classified;
  }
  const size_t bytes = segments_.size() * sizeof(kernels::PoolSegment);
  void* place = workspace.Allocate(bytes);
  device_.CopyToDevice(place, segments_.data(), bytes);
  result.segments = static_cast<const kernels::PoolSegment*>(place);
  return result;
}

TensorView Readout::Embeddings(const ReadoutSegments& segments, const TensorView& hidden,
                               Arena& workspace) const {
  if (segments.embedded == 0) return {};
  const TensorView rows = workspace.Tensor(DType::kF32, {segments.embedded, config_.hidden_size});
  device_.Pool(hidden, segments.segments, rows);
  return rows;
}

TensorView Readout::ClassifierInput(const ReadoutSegments& segments, const TensorView& hidden,
                                    Arena& workspace) const {
  const int64_t rows = segments.classified * parts();
  const TensorView vectors = workspace.Tensor(DType::kF32, {rows, config_.hidden_size});
  device_.Pool(hidden, segments.segments + segments.embedded, vectors);
  return TensorView(vectors.data, DType::kF32,
                    {segments.classified, parts() * config_.hidden_size});
}

}  // namespace contextpool::engine
