#include "engine/model/resnet_config.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

// Far above any ResNet, far below what could overflow.
constexpr IntRange kChannelRange = {1, 1 << 16};
constexpr int32_t kMaxStages = 16;
constexpr int32_t kMaxLayers = 1 << 10;
// A bottleneck has a quarter of its layer's channels.
constexpr int32_t kReduction = 4;
constexpr absl::string_view kArchitectures[] = {"ResNetModel", "ResNetForImageClassification"};

// transformers' own where the file says nothing.
constexpr int32_t kDefaultEmbeddingSize = 64;
const json& DefaultHiddenSizes() {
  static const json sizes = {256, 512, 1024, 2048};
  return sizes;
}
const json& DefaultDepths() {
  static const json depths = {3, 4, 6, 3};
  return depths;
}

// Integers inside `range`, one for each stage.
absl::StatusOr<std::vector<int32_t>> ParseList(const json& config, const char* key,
                                               const json& fallback, IntRange range) {
  const json* found = FindField(config, key);
  const json& list = found == nullptr ? fallback : *found;
  if (!list.is_array() || list.empty() || list.size() > kMaxStages) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" must be an array of 1 to ",
                                                   kMaxStages, " integers, found ", Excerpt(list)));
  }
  std::vector<int32_t> values;
  for (const json& value : list) {
    absl::StatusOr<int32_t> number = IntField(json{{key, value}}, key, range);
    if (!number.ok()) return number.status();
    values.push_back(*number);
  }
  return values;
}

absl::Status ParseStages(const json& config, ResNetConfig& result) {
  absl::StatusOr<std::vector<int32_t>> channels =
      ParseList(config, "hidden_sizes", DefaultHiddenSizes(), kChannelRange);
  if (!channels.ok()) return channels.status();
  absl::StatusOr<std::vector<int32_t>> depths =
      ParseList(config, "depths", DefaultDepths(), {1, kMaxLayers});
  if (!depths.ok()) return depths.status();
  if (channels->size() != depths->size()) {
    return absl::InvalidArgumentError(absl::StrCat("\"hidden_sizes\" has ", channels->size(),
                                                   " stages but \"depths\" has ", depths->size()));
  }
  for (size_t i = 0; i < channels->size(); ++i) {
    result.stages.push_back({(*channels)[i], (*depths)[i]});
  }
  if (result.layers() > kMaxLayers) {
    return absl::InvalidArgumentError(absl::StrCat("\"depths\" must be at most ", kMaxLayers,
                                                   " together, found ", result.layers()));
  }
  return absl::OkStatus();
}

absl::Status ParseLayerType(const json& config, ResNetConfig& result) {
  absl::StatusOr<std::string> type = StringField(config, "layer_type", "bottleneck");
  if (!type.ok()) return type.status();
  if (*type != "basic" && *type != "bottleneck") {
    return NotSupported("layer_type", *type, "basic, bottleneck");
  }
  if (*type == "basic") {
    result.layer_type = ResNetLayerType::kBasic;
    return absl::OkStatus();
  }
  for (const ResNetStage& stage : result.stages) {
    if (stage.channels >= kReduction) continue;
    return absl::InvalidArgumentError(absl::StrCat("\"hidden_sizes\" must be at least ", kReduction,
                                                   " in bottleneck layers, found ",
                                                   stage.channels));
  }
  return absl::OkStatus();
}

absl::Status ParseDownsampling(const json& config, ResNetConfig& result) {
  absl::StatusOr<bool> first = BoolField(config, "downsample_in_first_stage", false);
  if (!first.ok()) return first.status();
  absl::StatusOr<bool> bottleneck = BoolField(config, "downsample_in_bottleneck", false);
  if (!bottleneck.ok()) return bottleneck.status();
  result.downsample_in_first_stage = *first;
  result.downsample_in_bottleneck = *bottleneck;
  return absl::OkStatus();
}

// What would change the result and is not computed.
absl::Status RefuseUnsupported(const json& config) {
  absl::Status status = RefuseQuantization(config);
  if (!status.ok()) return status;
  status = RequireString(config, "hidden_act", "relu");
  if (!status.ok()) return status;
  absl::StatusOr<int32_t> channels = IntField(config, "num_channels", kChannelRange, 3);
  if (!channels.ok()) return channels.status();
  if (*channels != 3) return NotSupported("num_channels", absl::StrCat(*channels), "3");
  return absl::OkStatus();
}

absl::Status ParsePools(const json& config, ResNetConfig& result) {
  const json* object = FindField(config, "context_pool");
  if (object == nullptr) return absl::OkStatus();
  absl::StatusOr<ContextPoolConfig> pools = ParseContextPool(
      *object, {.layers = 2, .prefix_tokens = 0, .grid_width = 1, .convnet = true});
  if (!pools.ok()) return pools.status();
  result.context_pool = *std::move(pools);
  return absl::OkStatus();
}

}  // namespace

int32_t ResNetConfig::layers() const {
  int32_t layers = 0;
  for (const ResNetStage& stage : stages) layers += stage.depth;
  return layers;
}

bool ResNetConfig::pools(ContextPoolPlace place) const {
  return std::count(context_pool.layers.begin(), context_pool.layers.end(),
                    static_cast<int32_t>(place)) > 0;
}

absl::StatusOr<ResNetConfig> ParseResNetConfig(absl::string_view text) {
  absl::StatusOr<json> config = ParseJson(text);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::string> type = StringField(*config, "model_type");
  if (!type.ok()) return type.status();
  if (*type != "resnet") return NotSupported("model_type", *type, "resnet");
  ResNetConfig result;
  absl::StatusOr<std::string> architecture = ParseArchitecture(*config, kArchitectures);
  if (!architecture.ok()) return architecture.status();
  result.architecture = *std::move(architecture);
  absl::StatusOr<int32_t> embedding_size =
      IntField(*config, "embedding_size", kChannelRange, kDefaultEmbeddingSize);
  if (!embedding_size.ok()) return embedding_size.status();
  result.embedding_size = *embedding_size;

  absl::Status status = RefuseUnsupported(*config);
  if (status.ok()) status = ParseStages(*config, result);
  if (status.ok()) status = ParseLayerType(*config, result);
  if (status.ok()) status = ParseDownsampling(*config, result);
  if (status.ok()) status = ParsePools(*config, result);
  if (!status.ok()) return status;
  if (result.architecture != "ResNetForImageClassification") return result;
  absl::StatusOr<ClassifierLabels> classifier = ParseClassifierLabels(*config);
  if (!classifier.ok()) return classifier.status();
  result.classifier = *std::move(classifier);
  return result;
}

}  // namespace contextpool::engine
