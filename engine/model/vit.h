// Vision transformers: patches as tokens, layers that normalise before each block, with or without
// ContextPool over the patch grid, pooling, classifier.
//
// Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021; Touvron et al., "Training
// data-efficient image transformers & distillation through attention", 2021 (DeiT); Oquab et al.,
// "DINOv2: Learning Robust Visual Features without Supervision", 2024. Tensors as Hugging Face's
// models of these names call them.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/device/arena.h"
#include "engine/device/device.h"
#include "engine/model/model.h"
#include "engine/model/readout.h"
#include "engine/model/transformer.h"
#include "engine/model/vit_config.h"
#include "engine/model/vit_weights.h"

namespace contextpool::engine {

// An embedding is read after the last LayerNorm: Pooling::kCls and kPooler read the class token,
// every other pooling is over the patches alone, without the class token, the distillation token
// and registers.
class VitModel final : public Model {
 public:
  // REQUIRES: info.image, and the grid and max_tokens of such an image. Batches of up to
  // `expected_images` are computed without allocating.
  VitModel(ModelInfo info, const VitConfig& config, VitWeights weights, int64_t expected_images,
           Device& device);

  const ModelInfo& info() const override { return info_; }
  size_t WorkspaceBytes(const BatchLimits& limits) const override;
  absl::StatusOr<ModelOutput> Forward(const PackedBatch& batch, Arena& workspace) const override;

 private:
  size_t PatchBytes(int64_t images) const;
  void EmbedPatches(const PackedBatch& batch, TransformerState& state, Arena& workspace) const;

  const ModelInfo info_;
  // A convolution whose windows are the patches.
  const std::unique_ptr<LinearWeight> patch_embedding_;
  const ConvolutionOptions patches_;
  const TensorView tokens_;
  const LayerNormWeights norm_;
  const std::unique_ptr<LinearWeight> pooler_;
  const std::unique_ptr<LinearWeight> classifier_;
  const std::vector<DeviceBuffer> memory_;
  const Transformer transformer_;
  mutable Readout readout_;
  Device& device_;
};

}  // namespace contextpool::engine
