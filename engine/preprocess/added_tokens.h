// Finds added tokens in text and hands out what lies between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/preprocess/byte_trie.h"
#include "engine/preprocess/tokenizer_spec.h"

namespace contextpool::engine {

// The tokens of one kind (normalised or not). Matches are leftmost, then longest. Immutable.
class AddedTokenFinder {
 public:
  struct Pattern {
    std::string text;
    AddedToken token;
  };
  // INVALID_ARGUMENT: two patterns are the same, or one is empty.
  static absl::StatusOr<AddedTokenFinder> Create(std::vector<Pattern> patterns);

  bool empty() const { return patterns_.empty(); }

  // Calls on_text(view) for what is left between the tokens, never with an empty view, and
  // on_token(id), in the order of the text. Linear in the text for tokens of bounded length.
  template <typename OnText, typename OnToken>
  void Split(absl::string_view text, OnText on_text, OnToken on_token) const {
    Position position;
    while (const std::optional<Found> found = Next(text, position)) {
      if (found->text_begin < found->text_end) {
        on_text(text.substr(found->text_begin, found->text_end - found->text_begin));
      }
      on_token(found->id);
    }
    if (position.rest < text.size()) on_text(text.substr(position.rest));
  }

 private:
  struct Position {
    size_t search = 0;          // Where the next match may start.
    size_t rest = 0;            // Start of the text that was not handed out yet.
    size_t whitespace_end = 0;  // A run of white space after a token is known to reach up to here.
  };
  struct Found {
    size_t text_begin, text_end;
    int32_t id;
  };

  explicit AddedTokenFinder(std::vector<Pattern> patterns);
  std::optional<Found> Next(absl::string_view text, Position& position) const;
  size_t NextCandidate(absl::string_view text, size_t from) const;

  std::vector<Pattern> patterns_;
  ByteTrie trie_;  // Values are indices into patterns_.
  std::array<bool, 256> starts_token_{};
  // The byte that all tokens start with, if there is one.
  std::optional<char> only_start_;
};

}  // namespace contextpool::engine
