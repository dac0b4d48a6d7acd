// config.json of a BERT-like encoder as a checked value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/model_info.h"
#include "engine/base/request.h"
#include "engine/model/context_pool_config.h"

namespace contextpool::engine {

// kGeluTanh is the approximation that checkpoints call "gelu_new".
enum class Activation : uint8_t { kGelu, kGeluTanh, kRelu };

// Every size is positive and bounded, so that the product of any two fits int64. They are what the
// file claims: only reading the tensors shows whether they are true, so do that before allocating.
struct EncoderConfig {
  // As the checkpoint calls it, for example "BertForSequenceClassification".
  std::string architecture;
  int32_t hidden_size = 0;
  int32_t layers = 0;
  // Divides hidden_size.
  int32_t heads = 0;
  int32_t intermediate_size = 0;
  int32_t vocabulary_size = 0;
  int32_t max_positions = 0;
  int32_t token_types = 0;
  Activation activation = Activation::kGelu;
  float layer_norm_eps = 1e-12f;
  // Empty and kNone: no classification head. Else one label per row of classifier.weight.
  std::vector<std::string> labels;
  ProblemType problem_type = ProblemType::kNone;
  // kCls or kMean: which vector enters the classification head.
  Pooling classifier_pooling = Pooling::kCls;
  ContextPoolConfig context_pool;

  int32_t head_size() const { return hidden_size / heads; }
  bool classifies() const { return !labels.empty(); }
  bool pools() const { return !context_pool.layers.empty(); }
};

// `json` is the content of a config.json; `prefix_tokens` as in ContextPoolSurroundings.
// INVALID_ARGUMENT names the key at fault; what this build does not compute (another architecture,
// activation or position embedding) is UNIMPLEMENTED and named.
absl::StatusOr<EncoderConfig> ParseEncoderConfig(absl::string_view json,
                                                 std::optional<int32_t> prefix_tokens);

}  // namespace contextpool::engine
