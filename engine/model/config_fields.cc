#include "engine/model/config_fields.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

constexpr int32_t kMaxLabels = 1 << 20;
// What transformers assumes when a classifier's config says nothing of labels.
constexpr int32_t kDefaultLabels = 2;

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

}  // namespace

absl::Status NotSupported(absl::string_view key, absl::string_view found,
                          absl::string_view supported) {
  return absl::UnimplementedError(
      absl::StrCat("\"", key, "\" ", Quoted(found), " is not supported; supported: ", supported));
}

absl::Status RequireString(const json& config, const char* key, const std::string& only) {
  absl::StatusOr<std::string> value = StringField(config, key, only);
  if (!value.ok()) return value.status();
  if (*value != only) return NotSupported(key, *value, only);
  return absl::OkStatus();
}

absl::Status RequireFalse(const json& config, const char* key) {
  absl::StatusOr<bool> value = BoolField(config, key, false);
  if (!value.ok()) return value.status();
  if (*value) return NotSupported(key, "true", "false");
  return absl::OkStatus();
}

absl::Status RefuseQuantization(const json& config) {
  if (FindField(config, "quantization_config") == nullptr) return absl::OkStatus();
  return absl::UnimplementedError("\"quantization_config\" is not supported by this build");
}

absl::StatusOr<std::string> ParseArchitecture(const json& config,
                                              std::span<const absl::string_view> known) {
  const json* architectures = FindField(config, "architectures");
  if (architectures == nullptr) return std::string(known.front());
  if (!architectures->is_array() || architectures->size() != 1 ||
      !(*architectures)[0].is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"architectures\" must be an array of one name, found ", Excerpt(*architectures)));
  }
  std::string name = (*architectures)[0].get<std::string>();
  if (std::find(known.begin(), known.end(), name) != known.end()) return name;
  return NotSupported("architectures", name, absl::StrJoin(known, ", "));
}

absl::Status ParseSizes(const json& config, std::span<const SizeField> sizes) {
  for (const SizeField& size : sizes) {
    absl::StatusOr<int32_t> value = IntField(config, size.key, size.range, size.fallback);
    if (!value.ok()) return value.status();
    *size.out = *value;
  }
  return absl::OkStatus();
}

absl::StatusOr<kernels::Activation> ParseActivation(const json& config, const char* key,
                                                    const std::string& fallback) {
  absl::StatusOr<std::string> name = StringField(config, key, fallback);
  if (!name.ok()) return name.status();
  if (*name == "gelu" || *name == "gelu_python") return kernels::Activation::kGelu;
  if (*name == "relu") return kernels::Activation::kRelu;
  for (absl::string_view tanh_form :
       {"gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh"}) {
    if (*name == tanh_form) return kernels::Activation::kGeluTanh;
  }
  return NotSupported(key, *name, "gelu, gelu_new, relu");
}

absl::Status ParseLayerNormEps(const json& config, float& eps) {
  const json* field = FindField(config, "layer_norm_eps");
  if (field == nullptr) return absl::OkStatus();
  const double value = field->is_number() ? field->get<double>() : -1;
  if (!(value >= 0 && value < 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"layer_norm_eps\" must be a number from 0 and below 1, found ", Excerpt(*field)));
  }
  eps = static_cast<float>(value);
  return absl::OkStatus();
}

absl::StatusOr<ClassifierLabels> ParseClassifierLabels(const json& config) {
  absl::StatusOr<std::vector<std::string>> labels = ParseLabels(config);
  if (!labels.ok()) return labels.status();
  absl::StatusOr<ProblemType> problem_type = ParseProblemType(config, labels->size());
  if (!problem_type.ok()) return problem_type.status();
  return ClassifierLabels{*std::move(labels), *problem_type};
}

}  // namespace contextpool::engine
