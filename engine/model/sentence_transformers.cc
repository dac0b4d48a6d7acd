#include "engine/model/sentence_transformers.h"

#include <array>
#include <climits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/json.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

constexpr size_t kMaxModules = 16;

struct Mode {
  absl::string_view name;
  // The flag that older versions wrote instead of the name.
  const char* flag;
  // Unset: not computed by this build.
  std::optional<Pooling> pooling;
};
constexpr std::array<Mode, 6> kModes = {{
    {"cls", "pooling_mode_cls_token", Pooling::kCls},
    {"max", "pooling_mode_max_tokens", Pooling::kMax},
    {"mean", "pooling_mode_mean_tokens", Pooling::kMean},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", std::nullopt},
    {"weightedmean", "pooling_mode_weightedmean_tokens", std::nullopt},
    {"lasttoken", "pooling_mode_lasttoken", Pooling::kLastToken},
}};

// A module's type is a Python path, which moved between versions: only its last part counts.
absl::StatusOr<std::string> ModuleClass(const json& module) {
  absl::StatusOr<std::string> type = StringField(module, "type");
  if (!type.ok()) return type.status();
  const size_t dot = type->rfind('.');
  return dot == std::string::npos ? *type : type->substr(dot + 1);
}

// A folder directly inside the model directory.
absl::StatusOr<std::string> PoolingFolder(const json& module) {
  absl::StatusOr<std::string> path = StringField(module, "path");
  if (!path.ok()) return path.status();
  if (path->empty() || path->size() > NAME_MAX || *path == "." || *path == ".." ||
      path->find('/') != std::string::npos || path->find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"path\" of the Pooling module must be a folder's name, found ", Quoted(*path)));
  }
  return path;
}

absl::Status CheckTransformerPath(const json& module) {
  absl::StatusOr<std::string> path = StringField(module, "path", "");
  if (!path.ok()) return path.status();
  if (path->empty() || *path == ".") return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("the Transformer module in the folder ", Quoted(*path),
                   " is not supported; put its files at the top of the model directory"));
}

absl::Status WrongOrder() {
  return absl::UnimplementedError(
      "only Transformer, Pooling and optionally Normalize, in this order, are supported");
}

absl::StatusOr<Pooling> PoolingByName(absl::string_view name) {
  for (const Mode& mode : kModes) {
    if (mode.name == name && mode.pooling.has_value()) return *mode.pooling;
  }
  return absl::UnimplementedError(absl::StrCat("the pooling mode ", Quoted(name),
                                               " is not supported; supported: mean, cls, max, "
                                               "lasttoken"));
}

// The names under "pooling_mode", or those whose flag is set.
absl::StatusOr<std::vector<std::string>> PoolingNames(const json& config) {
  std::vector<std::string> names;
  if (const json* field = FindField(config, "pooling_mode")) {
    const json list = field->is_array() ? *field : json::array({*field});
    for (const json& name : list) {
      if (!name.is_string()) {
        return absl::InvalidArgumentError(
            absl::StrCat("\"pooling_mode\" must be a name, found ", Excerpt(name)));
      }
      names.push_back(name.get<std::string>());
    }
    return names;
  }
  for (const Mode& mode : kModes) {
    absl::StatusOr<bool> wanted = BoolField(config, mode.flag, false);
    if (!wanted.ok()) return wanted.status();
    if (*wanted) names.emplace_back(mode.name);
  }
  if (names.empty()) names.push_back("mean");
  return names;
}

}  // namespace

absl::StatusOr<SentenceModules> ParseSentenceModules(absl::string_view text) {
  absl::StatusOr<json> modules = ParseJson(text);
  if (!modules.ok()) return modules.status();
  if (!modules->is_array() || modules->size() > kMaxModules) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be an array of at most ", kMaxModules, " modules"));
  }
  SentenceModules result;
  std::vector<std::string> classes;
  for (const json& module : *modules) {
    absl::StatusOr<std::string> name = ModuleClass(module);
    if (!name.ok()) return name.status();
    if (*name == "Transformer") {
      absl::Status status = CheckTransformerPath(module);
      if (!status.ok()) return status;
    } else if (*name == "Pooling") {
      absl::StatusOr<std::string> folder = PoolingFolder(module);
      if (!folder.ok()) return folder.status();
      result.pooling_folder = *std::move(folder);
    } else if (*name == "Normalize") {
      result.normalize = true;
    } else {
      return absl::UnimplementedError(
          absl::StrCat("the module ", Quoted(*name),
                       " is not supported; supported: Transformer, Pooling, Normalize"));
    }
    classes.push_back(*std::move(name));
  }
  const std::string order = absl::StrJoin(classes, " ");
  if (order != "Transformer Pooling" && order != "Transformer Pooling Normalize") {
    return WrongOrder();
  }
  return result;
}

absl::StatusOr<Pooling> ParsePooling(absl::string_view text, int32_t hidden_size) {
  absl::StatusOr<json> config = ParseJson(text);
  if (!config.ok()) return config.status();
  for (const char* key : {"embedding_dimension", "word_embedding_dimension"}) {
    absl::StatusOr<int32_t> size = IntField(*config, key, {1, INT32_MAX}, hidden_size);
    if (!size.ok()) return size.status();
    if (*size != hidden_size) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", key, "\" is ", *size, " but the encoder's \"hidden_size\" is ", hidden_size));
    }
  }
  absl::StatusOr<std::vector<std::string>> names = PoolingNames(*config);
  if (!names.ok()) return names.status();
  if (names->size() != 1) {
    return absl::UnimplementedError(absl::StrCat("several pooling modes at once (",
                                                 absl::CEscape(absl::StrJoin(*names, ", ")),
                                                 ") are not supported; choose one"));
  }
  return PoolingByName(names->front());
}

absl::StatusOr<std::optional<int32_t>> ParseMaxSeqLength(absl::string_view text,
                                                         int32_t max_positions) {
  absl::StatusOr<json> config = ParseJson(text);
  if (!config.ok()) return config.status();
  absl::StatusOr<bool> lower = BoolField(*config, "do_lower_case", false);
  if (!lower.ok()) return lower.status();
  if (*lower) {
    return absl::UnimplementedError(
        "\"do_lower_case\" true is not supported; let the normaliser in tokenizer.json lower the "
        "text");
  }
  if (FindField(*config, "max_seq_length") == nullptr) return std::optional<int32_t>();
  absl::StatusOr<int32_t> length = IntField(*config, "max_seq_length", {1, max_positions});
  if (!length.ok()) return length.status();
  return std::optional<int32_t>(*length);
}

absl::Status CheckPrompts(absl::string_view text) {
  absl::StatusOr<json> config = ParseJson(text);
  if (!config.ok()) return config.status();
  if (FindField(*config, "default_prompt_name") == nullptr) return absl::OkStatus();
  return absl::UnimplementedError(
      "\"default_prompt_name\" is not supported; remove it and put the prompt into your texts");
}

}  // namespace contextpool::engine
