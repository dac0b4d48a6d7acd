#include "engine/model/transformer_config.h"

#include <array>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/config_fields.h"

namespace contextpool::engine {

using nlohmann::json;

absl::Status ParseLayers(const json& config, TransformerConfig& result) {
  const std::array<SizeField, 3> sizes = {{
      {"hidden_size", kHiddenRange, std::nullopt, &result.hidden_size},
      {"num_hidden_layers", kLayerRange, std::nullopt, &result.layers},
      {"num_attention_heads", kHiddenRange, std::nullopt, &result.heads},
  }};
  if (absl::Status status = ParseSizes(config, sizes); !status.ok()) return status;
  if (result.hidden_size % result.heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("\"hidden_size\" ", result.hidden_size,
                                                   " is not a multiple of \"num_attention_heads\" ",
                                                   result.heads));
  }
  absl::StatusOr<kernels::Activation> activation = ParseActivation(config, "hidden_act", "gelu");
  if (!activation.ok()) return activation.status();
  result.activation = *activation;
  return ParseLayerNormEps(config, result.layer_norm_eps);
}

absl::Status ParseHead(const json& config, TransformerConfig& result) {
  absl::StatusOr<ClassifierLabels> labels = ParseClassifierLabels(config);
  if (!labels.ok()) return labels.status();
  result.labels = std::move(labels->labels);
  result.problem_type = labels->problem_type;
  return absl::OkStatus();
}

absl::Status ParseClassifierPooling(const json& config, TransformerConfig& result) {
  absl::StatusOr<std::string> name = StringField(config, "classifier_pooling", "cls");
  if (!name.ok()) return name.status();
  if (*name != "cls" && *name != "mean") {
    return NotSupported("classifier_pooling", *name, "cls, mean");
  }
  result.classifier_pooling = *name == "cls" ? Pooling::kCls : Pooling::kMean;
  return absl::OkStatus();
}

absl::Status ParsePools(const json& config, const ContextPoolSurroundings& surroundings,
                        TransformerConfig& result) {
  const json* object = FindField(config, "context_pool");
  if (object == nullptr) return absl::OkStatus();
  absl::StatusOr<ContextPoolConfig> pools = ParseContextPool(*object, surroundings);
  if (!pools.ok()) return pools.status();
  result.context_pool = *std::move(pools);
  return absl::OkStatus();
}

}  // namespace contextpool::engine
