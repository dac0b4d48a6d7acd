// BERT encoders: embeddings, layers that normalise after each residual, with or without
// ContextPool, pooling, classifier.
//
// Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
// Understanding", 2019; tensors as Hugging Face's BertModel and BertForSequenceClassification
// name them.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/device/arena.h"
#include "engine/device/device.h"
#include "engine/model/checkpoint.h"
#include "engine/model/encoder_config.h"
#include "engine/model/model.h"

namespace contextpool::engine {

// One layer's weights on the device.
struct BertLayer {
  // Query, key and value in one projection: [3 * hidden, hidden].
  std::unique_ptr<LinearWeight> qkv;
  std::unique_ptr<LinearWeight> attention_output;
  LayerNormWeights attention_norm;
  std::unique_ptr<LinearWeight> intermediate;
  std::unique_ptr<LinearWeight> output;
  LayerNormWeights output_norm;
  std::optional<ContextPoolWeights> context_pool;
};

// A loaded model's weights on the device. The classification head is null without labels.
struct BertWeights {
  EmbeddingTables embeddings;
  std::vector<BertLayer> layers;
  std::unique_ptr<LinearWeight> pooler;
  std::unique_ptr<LinearWeight> classifier;
  // What the views above point to.
  std::vector<DeviceBuffer> memory;
  int64_t bytes = 0;
};

// Errors name the tensor. Nothing is allocated by a size that the checkpoint does not confirm.
absl::StatusOr<BertWeights> LoadBertWeights(const EncoderConfig& config,
                                            const Checkpoint& checkpoint, Device& device);

class BertModel final : public Model {
 public:
  // Batches of up to `expected_sequences` are computed without allocating.
  BertModel(ModelInfo info, EncoderConfig config, BertWeights weights, int64_t expected_sequences,
            Device& device);

  const ModelInfo& info() const override { return info_; }
  size_t WorkspaceBytes(const BatchLimits& limits) const override;
  absl::StatusOr<ModelOutput> Forward(const PackedBatch& batch, Arena& workspace) const override;

 private:
  struct Inputs;
  struct State;

  size_t ScratchBytes(int64_t max_length) const;
  Inputs CopyInputs(const PackedBatch& batch, Arena& workspace) const;
  State MakeState(int64_t tokens, Arena& workspace) const;
  void RunLayers(const Inputs& inputs, State& state, Arena& workspace) const;
  void Attend(const BertLayer& layer, const Inputs& inputs, State& state, Arena& workspace) const;
  void FeedForward(const BertLayer& layer, State& state, Arena& workspace) const;
  void PoolContext(const ContextPoolWeights& weights, int64_t index, const Inputs& inputs,
                   State& state, Arena& workspace) const;
  TensorView Classify(const Inputs& inputs, const TensorView& hidden, Arena& workspace) const;

  const ModelInfo info_;
  const EncoderConfig config_;
  const BertWeights weights_;
  Device& device_;

  // What Forward copies to the device must outlive the copy; reserved at construction.
  mutable std::vector<kernels::PoolSegment> segments_;
};

}  // namespace contextpool::engine
