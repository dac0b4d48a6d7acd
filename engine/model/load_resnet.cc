// From the directory of a ResNet to a model on a device.

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/model/checkpoint.h"
#include "engine/model/file.h"
#include "engine/model/model_loaders.h"
#include "engine/model/resnet.h"
#include "engine/model/resnet_config.h"

namespace contextpool::engine {

absl::StatusOr<std::unique_ptr<Model>> LoadResNet(const ModelSpec& spec, Device& device) {
  if (!device.convolves()) {
    return absl::UnimplementedError(
        absl::StrCat("device ", device.name(), " computes no ResNet; a CPU does"));
  }
  absl::StatusOr<ResNetConfig> config =
      ParseConfigFile(spec.directory, kConfigFile, ParseResNetConfig);
  if (!config.ok()) return config.status();
  // Any size: nothing in a checkpoint depends on it.
  absl::StatusOr<ImageConfig> image = ReadImageConfig(spec, std::nullopt);
  if (!image.ok()) return image.status();
  absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(spec.directory);
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<ResNetWeights> weights = LoadResNetWeights(*config, *checkpoint, device);
  if (!weights.ok()) return weights.status();

  ModelInfo info = Describe(spec, {.pooling = Pooling::kMean}, device);
  const FeatureShape last =
      LastFeatures(*weights, {image->size.height, image->size.width, kernels::kPixelChannels});
  info.architecture = config->architecture;
  info.modality = Modality::kImage;
  info.layers = config->layers();
  info.embedding_dimensions = config->embedding_dimensions();
  info.poolings = {Pooling::kMean};
  info.image = *image;
  info.grid_height = static_cast<int32_t>(last.height);
  info.grid_width = static_cast<int32_t>(last.width);
  info.max_tokens = static_cast<int32_t>(last.positions());
  info.labels = config->classifier.labels;
  info.problem_type = config->classifier.problem_type;
  info.weight_bytes = weights->memory.bytes;
  if (config->pools(ContextPoolPlace::kFinal)) {
    info.context_pool_layers = {static_cast<int32_t>(ContextPoolPlace::kFinal)};
  }
  return std::make_unique<ResNetModel>(std::move(info), config->context_pool.options,
                                       *std::move(weights), spec.queue.batch_max_inputs, device);
}

}  // namespace contextpool::engine
