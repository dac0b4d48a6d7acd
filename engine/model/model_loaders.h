// What LoadModel chooses from: one loader per family of architectures.
#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/base/image_config.h"
#include "engine/base/model_info.h"
#include "engine/base/options.h"
#include "engine/device/device.h"
#include "engine/model/model.h"
#include "engine/model/transformer_config.h"

namespace contextpool::engine {

// As LoadModel; they may throw what the standard library throws.
absl::StatusOr<std::unique_ptr<Model>> LoadBert(const ModelSpec& spec, Device& device);
absl::StatusOr<std::unique_ptr<Model>> LoadResNet(const ModelSpec& spec, Device& device);
absl::StatusOr<std::unique_ptr<Model>> LoadVit(const ModelSpec& spec, Device& device);

// How a checkpoint's own files say that embeddings are read.
struct OwnReadout {
  Pooling pooling = Pooling::kMean;
  bool normalize = false;
};

// What is the same for every architecture: names, the device, and how embeddings are read, as the
// operator wants or the checkpoint says.
ModelInfo Describe(const ModelSpec& spec, const OwnReadout& own, const Device& device);

// The same with what `config` says.
ModelInfo Describe(const ModelSpec& spec, const OwnReadout& own, const Device& device,
                   const TransformerConfig& config);

// preprocessor_config.json of an image model; `model_reads` as in ParseImageConfig.
// INVALID_ARGUMENT if `spec` sets what only text models have.
absl::StatusOr<ImageConfig> ReadImageConfig(const ModelSpec& spec,
                                            std::optional<ImageSize> model_reads);

}  // namespace contextpool::engine
