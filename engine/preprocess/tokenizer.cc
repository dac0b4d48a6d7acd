#include "engine/preprocess/tokenizer.h"

#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/preprocess/added_tokens.h"
#include "engine/preprocess/byte_level.h"
#include "engine/preprocess/normalizer.h"
#include "engine/preprocess/status_macros.h"
#include "engine/preprocess/token_sink.h"
#include "engine/preprocess/tokenizer_spec.h"
#include "engine/preprocess/unicode.h"
#include "engine/preprocess/wordpiece.h"

namespace contextpool::engine {
namespace {

using Model = std::variant<WordPiece, ByteLevel>;

// A thread keeps its buffer up to this size, so that one long text does not cost memory for good.
constexpr size_t kKeptScratchBytes = 256 << 10;

Normalizer::Scratch& ThreadScratch() {
  static thread_local Normalizer::Scratch scratch;
  return scratch;
}

Model MakeModel(const TokenizerSpec& spec) {
  if (const auto* bytes = std::get_if<ByteLevelSpec>(&spec.model)) return ByteLevel(*bytes);
  return WordPiece(std::get<WordPieceSpec>(spec.model),
                   {spec.vocabulary.begin(), spec.vocabulary.begin() + spec.model_vocabulary_size});
}

absl::StatusOr<AddedTokenFinder> MakeFinder(const TokenizerSpec& spec, bool normalized,
                                            const Normalizer& normalizer) {
  std::vector<AddedTokenFinder::Pattern> patterns;
  for (const AddedToken& token : spec.added_tokens) {
    if (token.normalized != normalized) continue;
    Normalizer::Scratch scratch;
    const absl::string_view text =
        normalized ? normalizer.Normalize(token.content, scratch) : token.content;
    patterns.push_back({std::string(text), token});
  }
  return AddedTokenFinder::Create(std::move(patterns));
}

// text -> raw added tokens -> normaliser -> normalised added tokens -> model -> truncation ->
// special tokens around it.
class PipelineTokenizer final : public Tokenizer {
 public:
  PipelineTokenizer(TokenizerSpec spec, Normalizer normalizer, AddedTokenFinder raw_tokens,
                    AddedTokenFinder normalized_tokens)
      : normalizer_(std::move(normalizer)),
        raw_tokens_(std::move(raw_tokens)),
        normalized_tokens_(std::move(normalized_tokens)),
        model_(MakeModel(spec)),
        vocabulary_(std::move(spec.vocabulary)),
        prefix_(std::move(spec.prefix)),
        suffix_(std::move(spec.suffix)) {}

  absl::StatusOr<EncodeSummary> Encode(absl::string_view utf8, const EncodeOptions& options,
                                       std::vector<int32_t>& ids) const override;

  absl::string_view TokenText(int32_t id) const override {
    return id >= 0 && id < vocabulary_size() ? vocabulary_[id] : absl::string_view();
  }
  int32_t vocabulary_size() const override { return static_cast<int32_t>(vocabulary_.size()); }
  int32_t prefix_tokens() const override { return static_cast<int32_t>(prefix_.size()); }
  int32_t suffix_tokens() const override { return static_cast<int32_t>(suffix_.size()); }

 private:
  void EncodeContent(absl::string_view utf8, TokenSink& sink) const;

  Normalizer normalizer_;
  AddedTokenFinder raw_tokens_;
  AddedTokenFinder normalized_tokens_;
  Model model_;
  std::vector<std::string> vocabulary_;
  std::vector<int32_t> prefix_;
  std::vector<int32_t> suffix_;
};

absl::StatusOr<EncodeSummary> PipelineTokenizer::Encode(absl::string_view utf8,
                                                        const EncodeOptions& options,
                                                        std::vector<int32_t>& ids) const {
  const int64_t added = options.add_special_tokens ? prefix_tokens() + suffix_tokens() : 0;
  if (options.max_tokens < added) {
    return absl::InvalidArgumentError(absl::StrCat("max_tokens is ", options.max_tokens,
                                                   ", but the special tokens alone are ", added));
  }
  const size_t valid_bytes = FirstInvalidUtf8(utf8);
  if (valid_bytes < utf8.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("text is not UTF-8: malformed at byte ", valid_bytes));
  }
  const size_t begin = ids.size();
  if (options.add_special_tokens) ids.insert(ids.end(), prefix_.begin(), prefix_.end());
  TokenSink sink(ids, options.max_tokens - added, options.truncation);
  EncodeContent(utf8, sink);
  const int64_t seen = sink.Finish() + added;
  if (options.truncation == Truncation::kReject && seen > options.max_tokens) {
    ids.resize(begin);
    return absl::InvalidArgumentError(absl::StrCat("text has ", seen, " tokens, more than ",
                                                   options.max_tokens,
                                                   "; shorten it or allow truncation"));
  }
  if (options.add_special_tokens) ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  EncodeSummary summary;
  summary.tokens_used = static_cast<int32_t>(ids.size() - begin);
  summary.tokens_seen = seen;
  summary.truncated = seen > options.max_tokens;
  return summary;
}

void PipelineTokenizer::EncodeContent(absl::string_view utf8, TokenSink& sink) const {
  Normalizer::Scratch& scratch = ThreadScratch();
  const auto add_token = [&sink](int32_t id) {
    sink.Add(id);
    sink.EndWord();
  };
  const auto tokenize = [&](absl::string_view text) {
    std::visit([&](const auto& model) { model.Tokenize(text, sink); }, model_);
  };
  raw_tokens_.Split(
      utf8,
      [&](absl::string_view text) {
        normalized_tokens_.Split(normalizer_.Normalize(text, scratch), tokenize, add_token);
      },
      add_token);
  scratch.ShrinkTo(kKeptScratchBytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(absl::string_view json) {
  CONTEXTPOOL_ASSIGN_OR_RETURN(TokenizerSpec spec, ParseTokenizerJson(json));
  Normalizer normalizer(spec.normalizer);
  CONTEXTPOOL_ASSIGN_OR_RETURN(AddedTokenFinder raw, MakeFinder(spec, false, normalizer));
  CONTEXTPOOL_ASSIGN_OR_RETURN(AddedTokenFinder normalized, MakeFinder(spec, true, normalizer));
  return std::make_unique<PipelineTokenizer>(std::move(spec), std::move(normalizer), std::move(raw),
                                             std::move(normalized));
}

}  // namespace contextpool::engine
