// From the directory of a BERT to a model on a device.

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/bert.h"
#include "engine/model/checkpoint.h"
#include "engine/model/model_directory.h"
#include "engine/model/model_loaders.h"

namespace contextpool::engine {
namespace {

absl::Status CheckSpec(const ModelSpec& spec, const EncoderConfig& config) {
  if (spec.max_tokens.has_value() &&
      (*spec.max_tokens < 1 || *spec.max_tokens > config.max_positions)) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens must be from 1 to ", config.max_positions,
                     ", the model's \"max_position_embeddings\", but is ", *spec.max_tokens));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadBert(const ModelSpec& spec, Device& device) {
  absl::StatusOr<ModelDirectory> directory = ReadModelDirectory(spec.directory, spec.prefix_tokens);
  if (!directory.ok()) return directory.status();
  const EncoderConfig& config = directory->encoder;
  if (absl::Status status = CheckSpec(spec, config); !status.ok()) return status;
  if (absl::Status status = device.CheckTransformer(config.attention()); !status.ok())
    return status;
  absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(spec.directory);
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<BertWeights> weights = LoadBertWeights(config, *checkpoint, device);
  if (!weights.ok()) return weights.status();

  ModelInfo info = Describe(spec, {directory->pooling, directory->normalize}, device, config);
  info.vocabulary_size = config.vocabulary_size;
  info.max_tokens = spec.max_tokens.value_or(directory->max_tokens);
  // Of a classifier that reads the mean, the pooler is no layer for the first token.
  if (weights->pooler != nullptr && config.classifier_pooling == Pooling::kCls) {
    info.poolings.push_back(Pooling::kPooler);
  }
  info.weight_bytes = weights->memory.bytes;
  return std::make_unique<BertModel>(std::move(info), config, *std::move(weights),
                                     spec.queue.batch_max_inputs, device);
}

}  // namespace contextpool::engine
