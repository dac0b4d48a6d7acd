// BERT encoders: embeddings, layers that normalise after each residual, with or without
// ContextPool, pooling, classifier.
//
// Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
// Understanding", 2019; tensors as Hugging Face's BertModel and BertForSequenceClassification
// name them.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/device/arena.h"
#include "engine/device/device.h"
#include "engine/model/checkpoint.h"
#include "engine/model/encoder_config.h"
#include "engine/model/model.h"
#include "engine/model/readout.h"
#include "engine/model/transformer.h"
#include "engine/model/weight_loader.h"

namespace contextpool::engine {

// A loaded model's weights on the device. The classifier is null without labels; the pooler is null
// where there are neither labels nor a pooler in the checkpoint.
struct BertWeights {
  EmbeddingTables embeddings;
  std::vector<TransformerLayer> layers;
  std::unique_ptr<LinearWeight> pooler;
  std::unique_ptr<LinearWeight> classifier;
  WeightMemory memory;
};

// Errors name the tensor. Nothing is allocated by a size that the checkpoint does not confirm.
absl::StatusOr<BertWeights> LoadBertWeights(const EncoderConfig& config,
                                            const Checkpoint& checkpoint, Device& device);

class BertModel final : public Model {
 public:
  // Batches of up to `expected_sequences` are computed without allocating.
  BertModel(ModelInfo info, const EncoderConfig& config, BertWeights weights,
            int64_t expected_sequences, Device& device);

  const ModelInfo& info() const override { return info_; }
  size_t WorkspaceBytes(const BatchLimits& limits) const override;
  absl::StatusOr<ModelOutput> Forward(const PackedBatch& batch, Arena& workspace) const override;

 private:
  void Embed(const PackedBatch& batch, TransformerState& state, Arena& workspace) const;
  TensorView Classify(const ReadoutSegments& segments, const TensorView& hidden,
                      Arena& workspace) const;

  const ModelInfo info_;
  const int64_t max_positions_;
  const EmbeddingTables embeddings_;
  const std::unique_ptr<LinearWeight> pooler_;
  const std::unique_ptr<LinearWeight> classifier_;
  const std::vector<DeviceBuffer> memory_;
  const Transformer transformer_;
  mutable Readout readout_;
  Device& device_;
};

}  // namespace contextpool::engine
