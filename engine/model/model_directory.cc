#include "engine/model/model_directory.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/json.h"
#include "engine/model/file.h"
#include "engine/model/sentence_transformers.h"

namespace contextpool::engine {
namespace {

// The content of an optional file.
absl::StatusOr<std::optional<std::string>> ReadOptional(const std::string& directory,
                                                        const std::string& file) {
  absl::StatusOr<std::string> content = ReadConfigFile(directory, file);
  if (content.ok()) return std::optional<std::string>(*std::move(content));
  if (absl::IsNotFound(content.status())) return std::optional<std::string>();
  return content.status();
}

// tokenizer_config.json's limit. Tokenisers without one carry a huge number, as do wrong files:
// both leave it to the position embeddings.
absl::StatusOr<int32_t> LimitByTokenizer(absl::string_view text, int32_t max_positions) {
  absl::StatusOr<nlohmann::json> config = ParseJson(text);
  if (!config.ok()) return config.status();
  const nlohmann::json* limit = FindField(*config, "model_max_length");
  if (limit == nullptr) return max_positions;
  if (!limit->is_number() || !(limit->get<double>() >= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"model_max_length\" must be a number from 1, found ", Excerpt(*limit)));
  }
  return static_cast<int32_t>(std::min<double>(limit->get<double>(), max_positions));
}

absl::StatusOr<int32_t> ReadMaxTokens(const std::string& directory, int32_t max_positions) {
  constexpr char kSentenceFile[] = "sentence_bert_config.json";
  auto sentence = ReadOptional(directory, kSentenceFile);
  if (!sentence.ok()) return sentence.status();
  if (sentence->has_value()) {
    auto length = ParseMaxSeqLength(**sentence, max_positions);
    if (!length.ok()) return InFile(length.status(), kSentenceFile);
    if (length->has_value()) return **length;
  }
  constexpr char kTokenizerFile[] = "tokenizer_config.json";
  auto tokenizer = ReadOptional(directory, kTokenizerFile);
  if (!tokenizer.ok()) return tokenizer.status();
  if (!tokenizer->has_value()) return max_positions;
  absl::StatusOr<int32_t> length = LimitByTokenizer(**tokenizer, max_positions);
  if (!length.ok()) return InFile(length.status(), kTokenizerFile);
  return length;
}

absl::Status ReadModules(const std::string& directory, ModelDirectory& result) {
  constexpr char kModulesFile[] = "modules.json";
  auto text = ReadOptional(directory, kModulesFile);
  if (!text.ok()) return text.status();
  if (!text->has_value()) return absl::OkStatus();
  absl::StatusOr<SentenceModules> modules = ParseSentenceModules(**text);
  if (!modules.ok()) return InFile(modules.status(), kModulesFile);
  result.normalize = modules->normalize;

  const std::string pooling_file = absl::StrCat(modules->pooling_folder, "/", kConfigFile);
  absl::StatusOr<Pooling> pooling = ParseConfigFile(
      directory, pooling_file,
      [&](absl::string_view text) { return ParsePooling(text, result.encoder.hidden_size); });
  if (!pooling.ok()) return pooling.status();
  result.pooling = *pooling;

  constexpr char kPromptsFile[] = "config_sentence_transformers.json";
  auto prompts = ReadOptional(directory, kPromptsFile);
  if (!prompts.ok()) return prompts.status();
  if (!prompts->has_value()) return absl::OkStatus();
  absl::Status status = CheckPrompts(**prompts);
  return status.ok() ? status : InFile(status, kPromptsFile);
}

}  // namespace

absl::StatusOr<ModelDirectory> ReadModelDirectory(const std::string& directory,
                                                  std::optional<int32_t> prefix_tokens) {
  ModelDirectory result;
  absl::StatusOr<EncoderConfig> encoder = ParseConfigFile(
      directory, kConfigFile,
      [&](absl::string_view text) { return ParseEncoderConfig(text, prefix_tokens); });
  if (!encoder.ok()) return encoder.status();
  result.encoder = *std::move(encoder);

  absl::StatusOr<int32_t> max_tokens = ReadMaxTokens(directory, result.encoder.max_positions);
  if (!max_tokens.ok()) return max_tokens.status();
  result.max_tokens = *max_tokens;
  absl::Status status = ReadModules(directory, result);
  if (!status.ok()) return status;
  return result;
}

}  // namespace contextpool::engine
