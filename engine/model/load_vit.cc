// From the directory of a ViT, DeiT or DINOv2 to a model on a device.

#include <utility>

#include "engine/model/checkpoint.h"
#include "engine/model/file.h"
#include "engine/model/model_loaders.h"
#include "engine/model/vit.h"
#include "engine/model/vit_config.h"
#include "engine/model/vit_weights.h"

namespace contextpool::engine {
namespace {

// The images that the model reads. They are of another size than config.json says only if it can
// interpolate its position embeddings.
absl::StatusOr<ImageConfig> ReadImages(const ModelSpec& spec, const VitConfig& config) {
  std::optional<ImageSize> only;
  if (config.position_resize == PositionResize::kNone) only = config.image;
  absl::StatusOr<ImageConfig> image = ReadImageConfig(spec, only);
  if (!image.ok()) return image.status();
  if (absl::Status status = CheckGrid(config, image->size); !status.ok()) {
    return InFile(status, kConfigFile);
  }
  return image;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadVit(const ModelSpec& spec, Device& device) {
  absl::StatusOr<VitConfig> config = ParseConfigFile(spec.directory, kConfigFile, ParseVitConfig);
  if (!config.ok()) return config.status();
  if (absl::Status status = device.CheckTransformer(config->attention()); !status.ok())
    return status;
  absl::StatusOr<ImageConfig> image = ReadImages(spec, *config);
  if (!image.ok()) return image.status();
  const ImageSize grid = config->GridOf(image->size);
  config->context_pool.options.grid_width = grid.width;
  absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(spec.directory);
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<VitWeights> weights = LoadVitWeights(*config, grid, *checkpoint, device);
  if (!weights.ok()) return weights.status();

  ModelInfo info = Describe(spec, {.pooling = Pooling::kCls}, device, *config);
  info.modality = Modality::kImage;
  info.image = *image;
  info.grid_height = grid.height;
  info.grid_width = grid.width;
  info.max_tokens = config->prefix() + grid.height * grid.width;
  if (weights->pooler != nullptr) info.poolings.push_back(Pooling::kPooler);
  info.weight_bytes = weights->memory.bytes;
  return std::make_unique<VitModel>(std::move(info), *config, *std::move(weights),
                                    spec.queue.batch_max_inputs, device);
}

}  // namespace contextpool::engine
