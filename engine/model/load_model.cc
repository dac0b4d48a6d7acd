// From a model directory to a model on a device.

#include <exception>
#include <new>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/model/bert.h"
#include "engine/model/checkpoint.h"
#include "engine/model/model.h"
#include "engine/model/model_directory.h"

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

ModelInfo Describe(const ModelSpec& spec, const ModelDirectory& directory) {
  const EncoderConfig& config = directory.encoder;
  ModelInfo info;
  info.name = spec.name;
  info.version = spec.version;
  info.architecture = config.architecture;
  info.layers = config.layers;
  info.embedding_dimensions = config.hidden_size;
  info.vocabulary_size = config.vocabulary_size;
  info.max_tokens = spec.max_tokens.value_or(directory.max_tokens);
  info.pooling = spec.pooling.value_or(directory.pooling);
  info.normalize = spec.normalize.value_or(directory.normalize);
  info.own_pooling = directory.pooling;
  info.own_normalize = directory.normalize;
  info.labels = config.labels;
  info.problem_type = config.problem_type;
  info.context_pool_layers = config.context_pool.layers;
  return info;
}

absl::StatusOr<std::unique_ptr<Model>> Load(const ModelSpec& spec, Device& device) {
  absl::StatusOr<ModelDirectory> directory = ReadModelDirectory(spec.directory, spec.prefix_tokens);
  if (!directory.ok()) return directory.status();
  const EncoderConfig& config = directory->encoder;
  absl::Status status = CheckSpec(spec, config);
  if (!status.ok()) return status;
  absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(spec.directory);
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<BertWeights> weights = LoadBertWeights(config, *checkpoint, device);
  if (!weights.ok()) return weights.status();

  ModelInfo info = Describe(spec, *directory);
  info.device = std::string(device.name());
  info.weight_bytes = weights->memory.bytes;
  return std::make_unique<BertModel>(std::move(info), config, *std::move(weights),
                                     spec.queue.batch_max_inputs, device);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ModelSpec& spec, Device& device) {
  try {
    return Load(spec, device);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("there is not enough memory for the model");
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("loading failed: ", error.what()));
  }
}

}  // namespace contextpool::engine
