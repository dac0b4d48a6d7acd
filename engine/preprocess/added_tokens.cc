#include "engine/preprocess/added_tokens.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/preprocess/unicode.h"

namespace contextpool::engine {
namespace {

bool HasFlag(char32_t c, CodePointFlag flag) { return (CodePointFlags()[c] & flag) != 0; }

bool IsWord(absl::string_view text, size_t begin, size_t end) {
  const bool touches_before =
      begin > 0 && HasFlag(DecodeLastUtf8(text.substr(0, begin)).value, kWordCharacter);
  const bool touches_after =
      end < text.size() && HasFlag(DecodeUtf8(text.data() + end).value, kWordCharacter);
  return !touches_before && !touches_after;
}

// Start of the white space that ends at `end`, not before `limit`.
size_t WhitespaceBefore(absl::string_view text, size_t limit, size_t end) {
  while (end > limit) {
    const DecodedCodePoint c = DecodeLastUtf8(text.substr(0, end));
    if (!HasFlag(c.value, kWhitespace)) break;
    end -= c.size_bytes;
  }
  return std::max(end, limit);
}

size_t WhitespaceAfter(absl::string_view text, size_t begin) {
  while (begin < text.size()) {
    const DecodedCodePoint c = DecodeUtf8(text.data() + begin);
    if (!HasFlag(c.value, kWhitespace)) break;
    begin += c.size_bytes;
  }
  return begin;
}

std::vector<std::pair<absl::string_view, int32_t>> TrieEntries(
    const std::vector<AddedTokenFinder::Pattern>& patterns) {
  std::vector<std::pair<absl::string_view, int32_t>> entries;
  for (const AddedTokenFinder::Pattern& pattern : patterns) {
    entries.emplace_back(pattern.text, static_cast<int32_t>(entries.size()));
  }
  return entries;
}

}  // namespace

absl::StatusOr<AddedTokenFinder> AddedTokenFinder::Create(std::vector<Pattern> patterns) {
  std::set<absl::string_view> seen;
  for (const Pattern& pattern : patterns) {
    if (pattern.text.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("added_tokens: the token of id ", pattern.token.id,
                       " is empty after normalisation; set its \"normalized\" to false"));
    }
    if (!seen.insert(pattern.text).second) {
      return absl::InvalidArgumentError(absl::StrCat("added_tokens: the token of id ",
                                                     pattern.token.id,
                                                     " equals another one after normalisation"));
    }
  }
  return AddedTokenFinder(std::move(patterns));
}

AddedTokenFinder::AddedTokenFinder(std::vector<Pattern> patterns)
    : patterns_(std::move(patterns)), trie_(TrieEntries(patterns_)) {
  for (const Pattern& pattern : patterns_) {
    starts_token_[static_cast<uint8_t>(pattern.text.front())] = true;
  }
  if (std::count(starts_token_.begin(), starts_token_.end(), true) == 1) {
    only_start_ = patterns_.front().text.front();
  }
}

size_t AddedTokenFinder::NextCandidate(absl::string_view text, size_t from) const {
  if (only_start_.has_value()) {
    return std::min(text.find(*only_start_, from), text.size());
  }
  while (from < text.size() && !starts_token_[static_cast<uint8_t>(text[from])]) ++from;
  return from;
}

std::optional<AddedTokenFinder::Found> AddedTokenFinder::Next(absl::string_view text,
                                                              Position& position) const {
  if (patterns_.empty()) return std::nullopt;
  for (;;) {
    const size_t begin = NextCandidate(text, position.search);
    if (begin >= text.size()) return std::nullopt;
    const ByteTrie::Match match = trie_.LongestPrefix(text.substr(begin));
    if (match.value < 0) {
      position.search = begin + 1;
      continue;
    }
    // Matches never overlap, those that are refused below included.
    const size_t end = begin + match.size_bytes;
    position.search = end;
    const AddedToken& token = patterns_[match.value].token;
    if (token.single_word && !IsWord(text, begin, end)) continue;
    Found found = {position.rest, begin, token.id};
    if (token.lstrip) found.text_end = WhitespaceBefore(text, position.rest, begin);
    position.rest = end;
    if (token.rstrip) {
      if (end >= position.whitespace_end) position.whitespace_end = WhitespaceAfter(text, end);
      position.rest = position.whitespace_end;
    }
    return found;
  }
}

}  // namespace contextpool::engine
