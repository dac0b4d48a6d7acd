// "model" and "pre_tokenizer": the two go together, WordPiece behind BERT's and bytes behind
// ByteLevel.
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/preprocess/status_macros.h"
#include "engine/preprocess/tokenizer_spec_parts.h"
#include "engine/preprocess/unicode.h"

namespace contextpool::engine {
namespace {

// Sets the vocabulary; ids must be 0, 1, 2, ... without holes, as an embedding table's rows are.
absl::Status ParseVocabulary(const JsonField& model, TokenizerSpec& spec, IdBySpelling& ids) {
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField vocab, model.Find("vocab"));
  if (!vocab.value().is_object()) return vocab.Error("must be an object of token: id");
  const size_t size = vocab.value().size();
  if (size == 0 || size >= static_cast<size_t>(kIdLimit)) return vocab.Error("has no tokens");
  std::vector<bool> seen(size, false);
  spec.vocabulary.resize(size);
  for (const auto& [token, id] : vocab.value().items()) {
    const JsonField entry(id, absl::StrCat(vocab.path(), "[", Quoted(token), "]"));
    CONTEXTPOOL_ASSIGN_OR_RETURN(const int64_t value, entry.Integer(kIdLimit));
    if (value >= static_cast<int64_t>(size)) {
      return entry.Error(absl::StrCat("id ", value, " leaves a hole: the vocabulary has ", size,
                                      " tokens, so ids must be below that"));
    }
    if (seen[value]) return entry.Error(absl::StrCat("id ", value, " is given twice"));
    seen[value] = true;
    spec.vocabulary[value] = token;
    ids.emplace(token, static_cast<int32_t>(value));
  }
  spec.model_vocabulary_size = static_cast<int32_t>(size);
  return absl::OkStatus();
}

absl::Status ParseWordPiece(const JsonField& model, const JsonField& pre_tokenizer,
                            const IdBySpelling& ids, TokenizerSpec& spec) {
  if (pre_tokenizer.is_null()) {
    return pre_tokenizer.Error("a WordPiece model needs BertPreTokenizer");
  }
  CONTEXTPOOL_ASSIGN_OR_RETURN(const std::string type, pre_tokenizer.String("type"));
  if (type != "BertPreTokenizer") return pre_tokenizer.Unsupported(type);
  WordPieceSpec word_piece;
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField unknown, model.Find("unk_token"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const std::string unknown_token, unknown.String());
  const auto it = ids.find(unknown_token);
  if (it == ids.end()) return unknown.Error("is not a token of model.vocab");
  word_piece.unknown_id = it->second;
  CONTEXTPOOL_ASSIGN_OR_RETURN(word_piece.continuation_prefix,
                               model.String("continuing_subword_prefix"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(word_piece.max_characters,
                               model.Integer("max_input_chars_per_word", kIdLimit));
  spec.model = std::move(word_piece);
  return absl::OkStatus();
}

// The printable character that stands for a byte in a byte-level vocabulary: itself where it is
// printable Latin-1, else the next one from U+0100 on (as GPT-2's encoder defined it).
std::array<std::string, 256> ByteSpellings() {
  std::array<std::string, 256> spellings;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    AppendUtf8(printable ? byte : next++, spellings[byte]);
  }
  return spellings;
}

// BPE that never merges; everything that could make a token of more than one byte is refused.
absl::Status CheckPlainBytes(const JsonField& model) {
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField merges, model.Find("merges"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const size_t merge_count, merges.ArraySize());
  if (merge_count > 0) {
    return merges.Error("BPE with merges is not supported, only byte-level vocabularies without");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField affix, model.Find(key));
    if (!affix.is_null() && affix.value() != "") return affix.Error("is not supported");
  }
  for (const char* key : {"byte_fallback", "ignore_merges"}) {
    CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField flag, model.Find(key));
    if (!flag.is_null() && flag.value() != false) return flag.Error("is not supported");
  }
  return absl::OkStatus();
}

absl::Status ParseByteLevel(const JsonField& model, const JsonField& pre_tokenizer,
                            const IdBySpelling& ids, TokenizerSpec& spec) {
  CONTEXTPOOL_RETURN_IF_ERROR(CheckPlainBytes(model));
  if (pre_tokenizer.is_null()) return pre_tokenizer.Error("a BPE model needs ByteLevel");
  CONTEXTPOOL_ASSIGN_OR_RETURN(const std::string type, pre_tokenizer.String("type"));
  if (type != "ByteLevel") return pre_tokenizer.Unsupported(type);
  ByteLevelSpec bytes;
  // use_regex only says where merges may not cross, so it does not matter here.
  CONTEXTPOOL_ASSIGN_OR_RETURN(bytes.add_prefix_space, pre_tokenizer.Bool("add_prefix_space"));
  const std::array<std::string, 256> spellings = ByteSpellings();
  for (size_t byte = 0; byte < spellings.size(); ++byte) {
    const auto it = ids.find(spellings[byte]);
    if (it == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.vocab: no token \"", spellings[byte], "\" for the byte ", byte));
    }
    bytes.ids[byte] = it->second;
  }
  spec.model = bytes;
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseModel(const JsonField& model, const JsonField& pre_tokenizer, TokenizerSpec& spec,
                        IdBySpelling& ids) {
  if (!model.value().is_object()) return model.Error("must be an object");
  CONTEXTPOOL_ASSIGN_OR_RETURN(const JsonField type_field, model.Find("type"));
  CONTEXTPOOL_ASSIGN_OR_RETURN(const std::string type, type_field.String());
  if (type != "WordPiece" && type != "BPE") return type_field.Unsupported(type);
  CONTEXTPOOL_RETURN_IF_ERROR(ParseVocabulary(model, spec, ids));
  return type == "WordPiece" ? ParseWordPiece(model, pre_tokenizer, ids, spec)
                             : ParseByteLevel(model, pre_tokenizer, ids, spec);
}

}  // namespace contextpool::engine
