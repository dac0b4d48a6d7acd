#include "engine/model/encoder_config.h"

#include <array>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "engine/base/json.h"
#include "engine/model/config_fields.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

// Far above any BERT, far below what could overflow.
constexpr IntRange kVocabularyRange = {1, 1 << 24};
constexpr IntRange kPositionRange = {1, 1 << 20};
constexpr IntRange kTokenTypeRange = {1, 1 << 16};

constexpr absl::string_view kClassifier = "BertForSequenceClassification";
constexpr absl::string_view kArchitectures[] = {"BertModel",
                                                kClassifier,
                                                "BertForMaskedLM",
                                                "BertForPreTraining",
                                                "BertForNextSentencePrediction",
                                                "BertForTokenClassification",
                                                "BertForQuestionAnswering",
                                                "BertForMultipleChoice"};

// Features that would change the result and that this build does not compute.
absl::Status RefuseUnsupported(const json& config) {
  absl::Status status = RefuseQuantization(config);
  if (status.ok()) status = RequireFalse(config, "is_decoder");
  if (status.ok()) status = RequireFalse(config, "add_cross_attention");
  if (status.ok()) status = RequireString(config, "position_embedding_type", "absolute");
  return status;
}

absl::Status ParseName(const json& config, EncoderConfig& result) {
  absl::StatusOr<std::string> type = StringField(config, "model_type");
  if (!type.ok()) return type.status();
  if (*type != "bert") return NotSupported("model_type", *type, "bert");
  absl::StatusOr<std::string> architecture = ParseArchitecture(config, kArchitectures);
  if (!architecture.ok()) return architecture.status();
  result.architecture = *std::move(architecture);
  return absl::OkStatus();
}

absl::Status ParseTableSizes(const json& config, EncoderConfig& result) {
  const std::array<SizeField, 4> sizes = {{
      {"intermediate_size", kIntermediateRange, std::nullopt, &result.intermediate_size},
      {"vocab_size", kVocabularyRange, std::nullopt, &result.vocabulary_size},
      {"max_position_embeddings", kPositionRange, std::nullopt, &result.max_positions},
      {"type_vocab_size", kTokenTypeRange, 2, &result.token_types},
  }};
  return ParseSizes(config, sizes);
}

}  // namespace

absl::StatusOr<EncoderConfig> ParseEncoderConfig(absl::string_view text,
                                                 std::optional<int32_t> prefix_tokens) {
  absl::StatusOr<json> config = ParseJson(text);
  if (!config.ok()) return config.status();
  EncoderConfig result;
  absl::Status status = ParseName(*config, result);
  if (status.ok()) status = RefuseUnsupported(*config);
  if (status.ok()) status = ParseLayers(*config, result);
  if (status.ok()) status = ParseTableSizes(*config, result);
  if (status.ok() && result.architecture == kClassifier) status = ParseHead(*config, result);
  if (status.ok()) status = ParseClassifierPooling(*config, result);
  if (!status.ok()) return status;
  status = ParsePools(
      *config,
      {.layers = result.layers,
       .reads_first_token = result.classifies() && result.classifier_pooling == Pooling::kCls,
       .prefix_tokens = prefix_tokens},
      result);
  if (!status.ok()) return status;
  return result;
}

}  // namespace contextpool::engine
