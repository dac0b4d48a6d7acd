#include "engine/model/vit.h"

#include <algorithm>
#include <utility>

namespace contextpool::engine {

VitModel::VitModel(ModelInfo info, const VitConfig& config, VitWeights weights,
                   int64_t expected_images, Device& device)
    : info_(std::move(info)),
      patch_embedding_(std::move(weights.patches)),
      patches_{.window = {.size = config.patch_size, .stride = config.patch_size}},
      tokens_(weights.tokens),
      norm_(weights.norm),
      pooler_(std::move(weights.pooler)),
      classifier_(std::move(weights.classifier)),
      memory_(std::move(weights.memory.buffers)),
      transformer_(config, NormPlacement::kBefore, std::move(weights.layers), device),
      readout_({.hidden_size = config.hidden_size,
                .skipped = config.prefix(),
                .classifier = config.classifier_parts,
                .pooler = pooler_.get()},
               expected_images, device),
      device_(device) {}

size_t VitModel::PatchBytes(int64_t images) const {
  return Arena::Padded(images * info_.image->bytes()) +
         Arena::Padded(device_.ConvolutionWorkspaceBytes(*patch_embedding_));
}

size_t VitModel::WorkspaceBytes(const BatchLimits& limits) const {
  const int64_t images = std::min(limits.sequences, limits.tokens / info_.max_tokens);
  return readout_.WorkspaceBytes(images) +
         Arena::FloatBytes(images, static_cast<int64_t>(info_.labels.size())) +
         transformer_.WorkspaceBytes(limits, info_.max_tokens, PatchBytes(images));
}

void VitModel::EmbedPatches(const PackedBatch& batch, TransformerState& state,
                            Arena& workspace) const {
  const int64_t images = batch.sequences();
  const ImageConfig& image = *info_.image;
  const size_t mark = workspace.used();
  const TensorView pixels = workspace.Tensor(
      DType::kU8, {images, image.size.height, image.size.width, kernels::kPixelChannels});
  const TensorView scratch = workspace.Tensor(
      DType::kU8, {static_cast<int64_t>(device_.ConvolutionWorkspaceBytes(*patch_embedding_))});
  const TensorView embedded(
      state.next.data, device_.dtype(),
      {images, info_.grid_height, info_.grid_width, info_.embedding_dimensions});
  device_.CopyToDevice(pixels.data, batch.pixels.data(), batch.pixels.size());
  device_.PixelConvolution(pixels, {image.scale(), image.offset()}, *patch_embedding_, patches_,
                           scratch, embedded);
  device_.PatchTokens(embedded, tokens_, state.hidden);
  workspace.Rewind(mark);
}

absl::StatusOr<ModelOutput> VitModel::Forward(const PackedBatch& batch, Arena& workspace) const {
  if (absl::Status status = CheckForward(*this, batch, workspace); !status.ok()) return status;
  // All that is copied to the device lies together.
  TransformerState state = transformer_.Begin(batch, workspace);
  const ReadoutSegments segments = readout_.CopySegments(batch, workspace);
  EmbedPatches(batch, state, workspace);
  transformer_.Run(state, workspace);
  device_.LayerNorm(state.hidden, norm_, state.next);
  ModelOutput output;
  output.context_pool = state.support;
  output.context_pool_tiles = state.tiles;
  output.embeddings = readout_.Embeddings(segments, state.next, workspace);
  if (segments.classified > 0) {
    output.logits = readout_.Logits(segments, state.next, *classifier_, workspace);
  }
  return output;
}

}  // namespace contextpool::engine
