#include "engine/model/encoder_config.h"

#include <array>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/json.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

// Far above any BERT, far below what could overflow.
constexpr IntRange kHiddenRange = {1, 1 << 16};
constexpr IntRange kLayerRange = {1, 1 << 10};
constexpr IntRange kIntermediateRange = {1, 1 << 20};
constexpr IntRange kVocabularyRange = {1, 1 << 24};
constexpr IntRange kPositionRange = {1, 1 << 20};
constexpr IntRange kTokenTypeRange = {1, 1 << 16};
constexpr int32_t kMaxLabels = 1 << 20;
// What transformers assumes when a classifier's config says nothing of labels.
constexpr int32_t kDefaultLabels = 2;

absl::Status NotSupported(const char* key, absl::string_view found, absl::string_view supported) {
  return absl::UnimplementedError(
      absl::StrCat("\"", key, "\" ", Quoted(found), " is not supported; supported: ", supported));
}

// Refuses the string under `key` if it is there and is not `only`.
absl::Status RequireString(const json& config, const char* key, const std::string& only) {
  absl::StatusOr<std::string> value = StringField(config, key, only);
  if (!value.ok()) return value.status();
  if (*value != only) return NotSupported(key, *value, only);
  return absl::OkStatus();
}

// Features that would change the result and that this build does not compute.
absl::Status RefuseUnsupported(const json& config) {
  if (FindField(config, "quantization_config") != nullptr) {
    return absl::UnimplementedError("\"quantization_config\" is not supported by this build");
  }
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    absl::StatusOr<bool> value = BoolField(config, key, false);
    if (!value.ok()) return value.status();
    if (*value) return NotSupported(key, "true", "false");
  }
  return RequireString(config, "position_embedding_type", "absolute");
}

absl::StatusOr<std::string> ParseArchitecture(const json& config) {
  absl::StatusOr<std::string> type = StringField(config, "model_type");
  if (!type.ok()) return type.status();
  if (*type != "bert") return NotSupported("model_type", *type, "bert");
  const json* architectures = FindField(config, "architectures");
  if (architectures == nullptr) return "BertModel";
  if (!architectures->is_array() || architectures->size() != 1 ||
      !(*architectures)[0].is_string()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"architectures\" must be an array of one "
                     "name, found ",
                     Excerpt(*architectures)));
  }
  std::string name = (*architectures)[0].get<std::string>();
  for (absl::string_view known :
       {"BertModel", "BertForSequenceClassification", "BertForMaskedLM", "BertForPreTraining",
        "BertForNextSentencePrediction", "BertForTokenClassification", "BertForQuestionAnswering",
        "BertForMultipleChoice"}) {
    if (name == known) return name;
  }
  return NotSupported("architectures", name, "BertModel and BertFor...");
}

absl::StatusOr<Activation> ParseActivation(const json& config) {
  absl::StatusOr<std::string> name = StringField(config, "hidden_act", "gelu");
  if (!name.ok()) return name.status();
  if (*name == "gelu" || *name == "gelu_python") return Activation::kGelu;
  if (*name == "relu") return Activation::kRelu;
  for (absl::string_view tanh_form :
       {"gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh"}) {
    if (*name == tanh_form) return Activation::kGeluTanh;
  }
  return NotSupported("hidden_act", *name, "gelu, gelu_new, relu");
}

absl::Status ParseSizes(const json& config, EncoderConfig& result) {
  struct Size {
    const char* key;
    IntRange range;
    std::optional<int32_t> fallback;
    int32_t* out;
  };
  const std::array<Size, 7> sizes = {{
      {"hidden_size", kHiddenRange, std::nullopt, &result.hidden_size},
      {"num_hidden_layers", kLayerRange, std::nullopt, &result.layers},
      {"num_attention_heads", kHiddenRange, std::nullopt, &result.heads},
      {"intermediate_size", kIntermediateRange, std::nullopt, &result.intermediate_size},
      {"vocab_size", kVocabularyRange, std::nullopt, &result.vocabulary_size},
      {"max_position_embeddings", kPositionRange, std::nullopt, &result.max_positions},
      {"type_vocab_size", kTokenTypeRange, 2, &result.token_types},
  }};
  for (const Size& size : sizes) {
    absl::StatusOr<int32_t> value = IntField(config, size.key, size.range, size.fallback);
    if (!value.ok()) return value.status();
    *size.out = *value;
  }
  if (result.hidden_size % result.heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("\"hidden_size\" ", result.hidden_size,
                                                   " is not a multiple of \"num_attention_heads\" ",
                                                   result.heads));
  }
  return absl::OkStatus();
}

absl::Status ParseLayerNormEps(const json& config, EncoderConfig& result) {
  const json* eps = FindField(config, "layer_norm_eps");
  if (eps == nullptr) return absl::OkStatus();
  const double value = eps->is_number() ? eps->get<double>() : -1;
  if (!(value >= 0 && value < 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"layer_norm_eps\" must be a number from 0 and below 1, found ", Excerpt(*eps)));
  }
  result.layer_norm_eps = static_cast<float>(value);
  return absl::OkStatus();
}

// The labels in the order of their numbers, which must be 0, 1, 2, ...
absl::StatusOr<std::vector<std::string>> ParseLabelMap(const json& map) {
  if (!map.is_object() || map.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"id2label\" must be an object of at least one label, found ", Excerpt(map)));
  }
  std::vector<const std::string*> slots(map.size(), nullptr);
  for (const auto& [key, label] : map.items()) {
    uint32_t id;
    if (!absl::SimpleAtoi(key, &id) || id >= slots.size() || slots[id] != nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"id2label\" has ", slots.size(), " labels but the number ", Quoted(key),
                       "; the numbers must run from 0 without holes"));
    }
    if (!label.is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"id2label\" must hold strings, found ", Excerpt(label)));
    }
    slots[id] = &label.get_ref<const std::string&>();
  }
  std::vector<std::string> labels;
  labels.reserve(slots.size());
  for (const std::string* slot : slots) labels.push_back(*slot);
  return labels;
}

absl::StatusOr<std::vector<std::string>> ParseLabels(const json& config) {
  const json* map = FindField(config, "id2label");
  absl::StatusOr<int32_t> count = IntField(config, "num_labels", {1, kMaxLabels}, kDefaultLabels);
  if (!count.ok()) return count.status();
  if (map != nullptr) {
    absl::StatusOr<std::vector<std::string>> labels = ParseLabelMap(*map);
    if (labels.ok() && FindField(config, "num_labels") != nullptr &&
        labels->size() != static_cast<size_t>(*count)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"num_labels\" is ", *count, " but \"id2label\" has ", labels->size()));
    }
    return labels;
  }
  std::vector<std::string> labels;
  for (int32_t i = 0; i < *count; ++i) labels.push_back(absl::StrCat("LABEL_", i));
  return labels;
}

// Unset, transformers decides by the training labels; at serving a single output can only be a
// regression.
absl::StatusOr<ProblemType> ParseProblemType(const json& config, size_t labels) {
  absl::StatusOr<std::string> name = StringField(config, "problem_type", "");
  if (!name.ok()) return name.status();
  if (*name == "regression") return ProblemType::kRegression;
  if (*name == "multi_label_classification") return ProblemType::kMultiLabel;
  if (*name == "single_label_classification") {
    if (labels > 1) return ProblemType::kSingleLabel;
    return absl::InvalidArgumentError(
        "\"problem_type\" single_label_classification needs at least two labels");
  }
  if (!name->empty()) {
    return NotSupported("problem_type", *name,
                        "single_label_classification, multi_label_classification, regression");
  }
  return labels == 1 ? ProblemType::kRegression : ProblemType::kSingleLabel;
}

absl::Status ParseHead(const json& config, EncoderConfig& result) {
  if (result.architecture != "BertForSequenceClassification") return absl::OkStatus();
  absl::StatusOr<std::vector<std::string>> labels = ParseLabels(config);
  if (!labels.ok()) return labels.status();
  result.labels = *std::move(labels);
  absl::StatusOr<ProblemType> problem_type = ParseProblemType(config, result.labels.size());
  if (!problem_type.ok()) return problem_type.status();
  result.problem_type = *problem_type;
  return absl::OkStatus();
}

absl::Status ParseClassifierPooling(const json& config, EncoderConfig& result) {
  absl::StatusOr<std::string> name = StringField(config, "classifier_pooling", "cls");
  if (!name.ok()) return name.status();
  if (*name != "cls" && *name != "mean") {
    return NotSupported("classifier_pooling", *name, "cls, mean");
  }
  result.classifier_pooling = *name == "cls" ? Pooling::kCls : Pooling::kMean;
  return absl::OkStatus();
}

absl::Status ParsePools(const json& config, std::optional<int32_t> prefix_tokens,
                        EncoderConfig& result) {
  const json* object = FindField(config, "context_pool");
  if (object == nullptr) return absl::OkStatus();
  absl::StatusOr<ContextPoolConfig> pools = ParseContextPool(
      *object,
      {.layers = result.layers,
       .reads_first_token = result.classifies() && result.classifier_pooling == Pooling::kCls,
       .prefix_tokens = prefix_tokens});
  if (!pools.ok()) return pools.status();
  result.context_pool = *std::move(pools);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EncoderConfig> ParseEncoderConfig(absl::string_view text,
                                                 std::optional<int32_t> prefix_tokens) {
  absl::StatusOr<json> config = ParseJson(text);
  if (!config.ok()) return config.status();
  EncoderConfig result;
  absl::StatusOr<std::string> architecture = ParseArchitecture(*config);
  if (!architecture.ok()) return architecture.status();
  result.architecture = *std::move(architecture);
  absl::StatusOr<Activation> activation = ParseActivation(*config);
  if (!activation.ok()) return activation.status();
  result.activation = *activation;

  absl::Status status = RefuseUnsupported(*config);
  if (status.ok()) status = ParseSizes(*config, result);
  if (status.ok()) status = ParseLayerNormEps(*config, result);
  if (status.ok()) status = ParseHead(*config, result);
  if (status.ok()) status = ParseClassifierPooling(*config, result);
  if (status.ok()) status = ParsePools(*config, prefix_tokens, result);
  if (!status.ok()) return status;
  return result;
}

}  // namespace contextpool::engine
