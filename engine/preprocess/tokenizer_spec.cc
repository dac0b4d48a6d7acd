#include "engine/preprocess/tokenizer_spec.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/preprocess/status_macros.h"
#include "engine/preprocess/tokenizer_spec_parts.h"

namespace contextpool::engine {
namespace {

using Steps = std::vector<NormalizerStep>;

absl::Status AppendBertNormalizer(const JsonField& field, Steps& steps) {
  CONTEXTPOOL_ASSIGN_OR_RETURN(const bool clean, field.Bool("clean_text"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const bool chinese, field.Bool("handle_chinese_chars"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const bool lowercase, field.Bool("lowercase"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField strip_field, field.Find("strip_accents"));
  bool strip = lowercase;
  if (!strip_field.is_null()) {
    CONTEXTPOOL_ASSIGN_OR_RETURN(strip, strip_field.Bool());
  }
  if (clean) steps.push_back(NormalizerStep::kCleanText);
  if (chinese) steps.push_back(NormalizerStep::kSpaceChinese);
  if (strip) {
    steps.push_back(NormalizerStep::kNfd);
    steps.push_back(NormalizerStep::kStripNonspacing);
  }
  if (lowercase) steps.push_back(NormalizerStep::kLowercase);
  return absl::OkStatus();
}

absl::Status AppendNormalizer(const JsonField& field, Steps& steps) {
  CONTEXTPOOL_ASSIGN_OR_RETURN(const std::string type, field.String("type"));
  if (type == "BertNormalizer") return AppendBertNormalizer(field, steps);
  if (type == "NFD") {
    steps.push_back(NormalizerStep::kNfd);
  } else if (type == "StripAccents") {
    steps.push_back(NormalizerStep::kStripCombining);
  } else if (type == "Lowercase") {
    steps.push_back(NormalizerStep::kLowercase);
  } else {
    return field.Unsupported(type);
  }
  return absl::OkStatus();
}

// Fills `ids` from a list of token ids that must exist.
absl::Status AppendIds(const JsonField& field, const TokenizerSpec& spec,
                       std::vector<int32_t>& ids) {
  CONTEXTPOOL_ASSIGN_OR_RETURN(const size_t size, field.ArraySize());
  for (size_t i = 0; i < size; ++i) {
    const auto limit = static_cast<int64_t>(spec.vocabulary.size());
    CONTEXTPOOL_ASSIGN_OR_RETURN(const int64_t id, field.At(i).Integer(limit));
    ids.push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

// {"SpecialToken": {"id": "[CLS]"}}: the ids are in special_tokens["[CLS]"].ids.
absl::Status AppendSpecialToken(const JsonField& piece, const JsonField& special_tokens,
                                const TokenizerSpec& spec, std::vector<int32_t>& ids) {
  CONTEXTPOOL_ASSIGN_OR_RETURN(const std::string name, piece.String("id"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField token, special_tokens.Find(name.c_str()));
  if (token.is_null()) {
    return special_tokens.Error(absl::StrCat("lacks ", Quoted(name), ", which the template uses"));
  }
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField token_ids, token.Find("ids"));
  return AppendIds(token_ids, spec, ids);
}

absl::Status ParseTemplate(const JsonField& field, TokenizerSpec& spec) {
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField single, field.Find("single"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField special_tokens, field.Find("special_tokens"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const size_t size, single.ArraySize());
  bool seen_text = false;
  for (size_t i = 0; i < size; ++i) {
    const JsonField piece = single.At(i);
    CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField special, piece.Find("SpecialToken"));
    if (!special.is_null()) {
      CONTEXTPOOL_RETURN_IF_ERROR(
          AppendSpecialToken(special, special_tokens, spec, seen_text ? spec.suffix : spec.prefix));
      continue;
    }
    CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField sequence, piece.Find("Sequence"));
    CONTEXTPOOL_ASSIGN_OR_RETURN(const std::string id, sequence.String("id"));
    if (id != "A" || seen_text) return piece.Error("only one sequence, \"A\", is supported");
    seen_text = true;
  }
  return seen_text ? absl::OkStatus() : single.Error("has no sequence \"A\"");
}

// ["[SEP]", 102]
absl::Status AppendTokenAndId(const JsonField& field, const TokenizerSpec& spec,
                              std::vector<int32_t>& ids) {
  CONTEXTPOOL_ASSIGN_OR_RETURN(const size_t size, field.ArraySize());
  if (size != 2) return field.Error("must be [token, id]");
  CONTEXTPOOL_ASSIGN_OR_RETURN(const int64_t id,
                               field.At(1).Integer(static_cast<int64_t>(spec.vocabulary.size())));
  ids.push_back(static_cast<int32_t>(id));
  return absl::OkStatus();
}

absl::StatusOr<AddedToken> ParseAddedToken(const JsonField& field) {
  AddedToken token;
  CONTEXTPOOL_ASSIGN_OR_RETURN(token.content, field.String("content"));
  if (token.content.empty()) return field.Error("content must not be empty");
  CONTEXTPOOL_ASSIGN_OR_RETURN(token.id, field.Integer("id", kIdLimit));
  CONTEXTPOOL_ASSIGN_OR_RETURN(token.single_word, field.Bool("single_word"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(token.lstrip, field.Bool("lstrip"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(token.rstrip, field.Bool("rstrip"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(token.normalized, field.Bool("normalized"));
  // Only decoding treats special tokens differently.
  CONTEXTPOOL_RETURN_IF_ERROR(field.Bool("special").status());
  return token;
}

}  // namespace

absl::Status ParseNormalizer(const JsonField& field, TokenizerSpec& spec) {
  if (field.is_null()) return absl::OkStatus();
  CONTEXTPOOL_ASSIGN_OR_RETURN(const std::string type, field.String("type"));
  if (type != "Sequence") {
    CONTEXTPOOL_RETURN_IF_ERROR(AppendNormalizer(field, spec.normalizer));
  } else {
    CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField list, field.Find("normalizers"));
    CONTEXTPOOL_ASSIGN_OR_RETURN(const size_t size, list.ArraySize());
    for (size_t i = 0; i < size; ++i) {
      CONTEXTPOOL_RETURN_IF_ERROR(AppendNormalizer(list.At(i), spec.normalizer));
      if (std::count(spec.normalizer.begin(), spec.normalizer.end(), NormalizerStep::kNfd) > 1) {
        return list.At(i).Error("a second canonical decomposition is not supported");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ParseAddedTokens(const JsonField& field, const IdBySpelling& ids,
                              TokenizerSpec& spec) {
  if (field.is_null()) return absl::OkStatus();
  CONTEXTPOOL_ASSIGN_OR_RETURN(const size_t size, field.ArraySize());
  absl::flat_hash_set<std::string> seen;
  for (size_t i = 0; i < size; ++i) {
    const JsonField entry = field.At(i);
    CONTEXTPOOL_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(entry));
    if (!seen.insert(token.content).second) return entry.Error("content is listed twice");
    // Hugging Face ignores the id of the file and numbers the tokens itself, like this.
    const auto it = ids.find(token.content);
    const auto expected =
        it != ids.end() ? it->second : static_cast<int32_t>(spec.vocabulary.size());
    if (token.id != expected) {
      return entry.Error(absl::StrCat("id is ", token.id, ", but by the vocabulary and the tokens ",
                                      "before it it is ", expected));
    }
    if (it == ids.end()) spec.vocabulary.push_back(token.content);
    spec.added_tokens.push_back(std::move(token));
  }
  return absl::OkStatus();
}

absl::Status ParsePostProcessor(const JsonField& field, TokenizerSpec& spec) {
  if (field.is_null()) return absl::OkStatus();
  CONTEXTPOOL_ASSIGN_OR_RETURN(const std::string type, field.String("type"));
  if (type == "TemplateProcessing") return ParseTemplate(field, spec);
  if (type == "ByteLevel") return absl::OkStatus();  // Changes offsets, not ids.
  if (type != "BertProcessing") return field.Unsupported(type);
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField cls, field.Find("cls"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField sep, field.Find("sep"));
  CONTEXTPOOL_RETURN_IF_ERROR(AppendTokenAndId(cls, spec, spec.prefix));
  return AppendTokenAndId(sep, spec, spec.suffix);
}

absl::StatusOr<TokenizerSpec> ParseTokenizerJson(absl::string_view json) {
  CONTEXTPOOL_ASSIGN_OR_RETURN(const nlohmann::json document, ParseJson(json));
  if (!document.is_object()) return absl::InvalidArgumentError("is not a JSON object");
  const JsonField root(document, "");
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField normalizer, root.Find("normalizer"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField model, root.Find("model"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField pre_tokenizer, root.Find("pre_tokenizer"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField added_tokens, root.Find("added_tokens"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField post_processor, root.Find("post_processor"));
  TokenizerSpec spec;
  IdBySpelling ids;
  CONTEXTPOOL_RETURN_IF_ERROR(ParseNormalizer(normalizer, spec));
  CONTEXTPOOL_RETURN_IF_ERROR(ParseModel(model, pre_tokenizer, spec, ids));
  CONTEXTPOOL_RETURN_IF_ERROR(ParseAddedTokens(added_tokens, ids, spec));
  CONTEXTPOOL_RETURN_IF_ERROR(ParsePostProcessor(post_processor, spec));
  return spec;
}

}  // namespace contextpool::engine
