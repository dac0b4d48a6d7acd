// The content of a tokenizer.json, checked.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/preprocess/normalizer.h"

namespace contextpool::engine {

// A token that is found in the text before the model sees it.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  // Only where no word character touches it.
  bool single_word = false;
  // Takes the white space before (after) it along.
  bool lstrip = false;
  bool rstrip = false;
  // Looked for in the normalised text, in its own normalised form; else in the text as it came.
  bool normalized = false;
};

struct WordPieceSpec {
  int32_t unknown_id = 0;
  // What a token inside a word starts with in the vocabulary.
  std::string continuation_prefix;
  // A word of more characters is unknown.
  uint64_t max_characters = 0;
};

// One token per byte.
struct ByteLevelSpec {
  std::array<int32_t, 256> ids;
  // A piece of text that does not start with a space gets one.
  bool add_prefix_space = false;
};

struct TokenizerSpec {
  std::vector<NormalizerStep> normalizer;
  std::variant<WordPieceSpec, ByteLevelSpec> model;
  // Spelling by id. The model's ids are [0, model_vocabulary_size), added tokens may follow.
  std::vector<std::string> vocabulary;
  int32_t model_vocabulary_size = 0;
  std::vector<AddedToken> added_tokens;
  // Ids that the post-processor puts around a single text.
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
};

// INVALID_ARGUMENT names the key that is missing, malformed or not supported.
absl::StatusOr<TokenizerSpec> ParseTokenizerJson(absl::string_view json);

}  // namespace contextpool::engine
