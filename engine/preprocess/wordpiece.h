// BERT's pre-tokeniser and greedy longest-match WordPiece, in one pass.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/preprocess/byte_trie.h"
#include "engine/preprocess/token_sink.h"
#include "engine/preprocess/tokenizer_spec.h"

namespace contextpool::engine {

// Immutable.
class WordPiece {
 public:
  // `vocabulary`: the model's tokens by id.
  WordPiece(const WordPieceSpec& spec, const std::vector<std::string>& vocabulary);

  // Splits normalised text at white space and around punctuation and adds the tokens of every
  // word. REQUIRES: well-formed UTF-8.
  void Tokenize(absl::string_view text, TokenSink& sink) const;

 private:
  void TokenizeWord(absl::string_view word, TokenSink& sink) const;
  bool IsTooLong(absl::string_view word) const;

  int32_t unknown_id_;
  uint64_t max_characters_;
  ByteTrie whole_;         // All tokens.
  ByteTrie continuation_;  // Those that may follow inside a word, without their prefix.
};

}  // namespace contextpool::engine
