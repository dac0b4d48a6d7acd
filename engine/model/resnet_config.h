// config.json of a ResNet as a checked value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/config_fields.h"
#include "engine/model/context_pool_config.h"

namespace contextpool::engine {

// What a residual layer adds to its input: two 3x3 convolutions; or 1x1 to a quarter of the
// channels, 3x3, 1x1 back.
enum class ResNetLayerType : uint8_t { kBasic, kBottleneck };

// Layers of as many channels each. The first of a stage halves height and width.
struct ResNetStage {
  int32_t channels = 0;
  int32_t depth = 0;
};

// Every size is positive and bounded, so that no tensor's size overflows int64. They are what the
// file claims: only reading the tensors shows whether they are true, so do that before allocating.
struct ResNetConfig {
  std::string architecture;
  // Channels of the first convolution.
  int32_t embedding_size = 0;
  // Not empty.
  std::vector<ResNetStage> stages;
  ResNetLayerType layer_type = ResNetLayerType::kBottleneck;
  // Whether the first stage halves height and width too.
  bool downsample_in_first_stage = false;
  // Whether a bottleneck's first convolution does it, not its second.
  bool downsample_in_bottleneck = false;
  // No labels: no classification head.
  ClassifierLabels classifier;
  // Its grids and outputs are for whoever knows the size of the images to set.
  ContextPoolConfig context_pool;

  int32_t embedding_dimensions() const { return stages.back().channels; }
  int32_t layers() const;
  bool classifies() const { return !classifier.labels.empty(); }
  // Whether ContextPool stands there.
  bool pools(ContextPoolPlace place) const;
};

// `json` is the content of a config.json. INVALID_ARGUMENT names the key at fault; what this build
// does not compute (another architecture or activation) is UNIMPLEMENTED and named.
absl::StatusOr<ResNetConfig> ParseResNetConfig(absl::string_view json);

}  // namespace contextpool::engine
