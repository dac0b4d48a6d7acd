// What config.json says of any transformer encoder, as a checked value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/json.h"
#include "engine/base/model_info.h"
#include "engine/base/request.h"
#include "engine/device/device.h"
#include "engine/model/context_pool_config.h"

namespace contextpool::engine {

// Far above any model, far below what could overflow.
inline constexpr IntRange kHiddenRange = {1, 1 << 16};
inline constexpr IntRange kLayerRange = {1, 1 << 10};
inline constexpr IntRange kIntermediateRange = {1, 1 << 20};

// Every size is positive and bounded, so that the product of any two fits int64. They are what the
// file claims: only reading the tensors shows whether they are true, so do that before allocating.
struct TransformerConfig {
  // As the checkpoint calls it, for example "BertForSequenceClassification".
  std::string architecture;
  int32_t hidden_size = 0;
  int32_t layers = 0;
  // Divides hidden_size.
  int32_t heads = 0;
  int32_t intermediate_size = 0;
  kernels::Activation activation = kernels::Activation::kGelu;
  float layer_norm_eps = 1e-12f;
  // Empty and kNone: no classification head. Else one label per row of the classifier's weight.
  std::vector<std::string> labels;
  ProblemType problem_type = ProblemType::kNone;
  // kCls or kMean: which vector enters the classification head.
  Pooling classifier_pooling = Pooling::kCls;
  ContextPoolConfig context_pool;

  int32_t head_size() const { return hidden_size / heads; }
  AttentionShape attention() const { return {heads, head_size()}; }
  bool classifies() const { return !labels.empty(); }
};

// Fill in a part of `result` each. Errors are those of config_fields.h.

// hidden_size, layers, heads, activation and layer_norm_eps.
absl::Status ParseLayers(const nlohmann::json& config, TransformerConfig& result);

// labels and problem_type of a model with a head.
absl::Status ParseHead(const nlohmann::json& config, TransformerConfig& result);

absl::Status ParseClassifierPooling(const nlohmann::json& config, TransformerConfig& result);

// context_pool, if there is such an object.
absl::Status ParsePools(const nlohmann::json& config, const ContextPoolSurroundings& surroundings,
                        TransformerConfig& result);

}  // namespace contextpool::engine
