#include "engine/preprocess/wordpiece.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "engine/preprocess/unicode.h"

namespace contextpool::engine {
namespace {

using Entries = std::vector<std::pair<absl::string_view, int32_t>>;

Entries WithoutPrefix(const std::vector<std::string>& vocabulary, absl::string_view prefix) {
  Entries entries;
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    if (!absl::StartsWith(vocabulary[id], prefix)) continue;
    entries.emplace_back(absl::string_view(vocabulary[id]).substr(prefix.size()),
                         static_cast<int32_t>(id));
  }
  return entries;
}

bool IsContinuationByte(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

}  // namespace

WordPiece::WordPiece(const WordPieceSpec& spec, const std::vector<std::string>& vocabulary)
    : unknown_id_(spec.unknown_id),
      max_characters_(spec.max_characters),
      whole_(WithoutPrefix(vocabulary, "")),
      continuation_(WithoutPrefix(vocabulary, spec.continuation_prefix)) {}

void WordPiece::Tokenize(absl::string_view text, TokenSink& sink) const {
  const PagedTable<uint8_t>& flags = CodePointFlags();
  size_t word_begin = 0;
  size_t i = 0;
  const auto end_word = [&] {
    if (word_begin < i) TokenizeWord(text.substr(word_begin, i - word_begin), sink);
  };
  while (i < text.size()) {
    const DecodedCodePoint c = DecodeUtf8(text.data() + i);
    const uint8_t boundary = flags[c.value] & (kWhitespace | kPunctuation);
    if (boundary != 0) {
      end_word();
      if (boundary & kPunctuation) TokenizeWord(text.substr(i, c.size_bytes), sink);
      word_begin = i + c.size_bytes;
    }
    i += c.size_bytes;
  }
  end_word();
}

bool WordPiece::IsTooLong(absl::string_view word) const {
  if (word.size() <= max_characters_) return false;
  const auto continuations = std::count_if(word.begin(), word.end(), IsContinuationByte);
  return word.size() - static_cast<size_t>(continuations) > max_characters_;
}

void WordPiece::TokenizeWord(absl::string_view word, TokenSink& sink) const {
  const size_t begin = sink.BeginWord();
  bool is_known = !IsTooLong(word);
  const ByteTrie* trie = &whole_;
  while (is_known && !word.empty()) {
    const ByteTrie::Match match = trie->LongestPrefix(word);
    is_known = match.value >= 0;
    if (is_known) {
      sink.Add(match.value);
      word.remove_prefix(match.size_bytes);
      trie = &continuation_;
    }
  }
  if (!is_known) sink.ReplaceWord(begin, unknown_id_);
  sink.EndWord();
}

}  // namespace contextpool::engine
