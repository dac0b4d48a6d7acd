#include "clients/cli/spelling.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace contextpool::cli {
namespace {

using Tokens = google::protobuf::RepeatedPtrField<std::string>;

// Letters from here on stand, in order, for the bytes that are no printable letter.
constexpr char32_t kFirstStandIn = 0x100;

constexpr bool StandsForItself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

// The byte of each letter below U+0144, by code point; -1 for those that are none.
std::array<int, 0x144> MakeByteOfLetter() {
  std::array<int, 0x144> bytes;
  bytes.fill(-1);
  char32_t stand_in = kFirstStandIn;
  for (unsigned byte = 0; byte < 256; ++byte) {
    bytes[StandsForItself(byte) ? byte : stand_in++] = static_cast<int>(byte);
  }
  return bytes;
}

struct Decoded {
  std::string bytes;
  bool stand_ins = false;
};

// Nothing if some letter is not of the byte-level alphabet.
std::optional<Decoded> DecodeLetters(absl::string_view token) {
  static const std::array<int, 0x144> byte_of_letter = MakeByteOfLetter();
  Decoded decoded;
  while (!token.empty()) {
    const auto lead = static_cast<uint8_t>(token[0]);
    char32_t letter = lead;
    size_t size = 1;
    if (lead >= 0xC2 && lead <= 0xC5 && token.size() > 1) {
      letter = (lead & 0x1F) << 6 | (static_cast<uint8_t>(token[1]) & 0x3F);
      size = 2;
    }
    if ((lead >= 0x80 && size == 1) || letter >= byte_of_letter.size()) return std::nullopt;
    if (byte_of_letter[letter] < 0) return std::nullopt;
    decoded.bytes.push_back(static_cast<char>(byte_of_letter[letter]));
    decoded.stand_ins |= letter >= kFirstStandIn;
    token.remove_prefix(size);
  }
  return decoded;
}

bool IsContinuation(absl::string_view token) {
  return token.size() > 2 && absl::StartsWith(token, "##");
}

bool IsOfWordPiece(absl::string_view token) {
  constexpr std::array<absl::string_view, 5> kSpecial = {"[CLS]", "[SEP]", "[UNK]", "[PAD]",
                                                         "[MASK]"};
  return IsContinuation(token) ||
         std::find(kSpecial.begin(), kSpecial.end(), token) != kSpecial.end();
}

bool IsSpecial(absl::string_view token) {
  return token.size() > 2 && token.front() == '<' && token.back() == '>';
}

bool IsByteLevel(const Tokens& tokens) {
  bool stand_ins = false;
  bool single = true;
  for (absl::string_view token : tokens) {
    const std::optional<Decoded> decoded = DecodeLetters(token);
    if (!decoded || IsOfWordPiece(token)) return false;
    stand_ins |= decoded->stand_ins;
    single &= decoded->bytes.size() <= 1 || IsSpecial(token);
  }
  return stand_ins || single;
}

// How many bytes more the character takes that the text ends in; 0 if it ends with a whole one, or
// with none.
size_t MissingBytes(absl::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(text.size(), 3); ++back) {
    const auto byte = static_cast<uint8_t>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t size = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC2 ? 2 : 1;
    return byte <= 0xF4 && size > back ? size - back : 0;
  }
  return 0;
}

bool Continues(absl::string_view text, absl::string_view next) {
  return !next.empty() && (static_cast<uint8_t>(next[0]) & 0xC0) == 0x80 && MissingBytes(text) > 0;
}

std::vector<Piece> SpellBytes(const Tokens& tokens) {
  std::vector<Piece> pieces;
  for (int i = 0; i < tokens.size(); ++i) {
    const auto index = static_cast<size_t>(i);
    std::string bytes = DecodeLetters(tokens[i])->bytes;
    if (!pieces.empty() && Continues(pieces.back().text, bytes)) {
      pieces.back().text += bytes;
      pieces.back().end = index + 1;
    } else {
      pieces.push_back({std::move(bytes), index, index + 1, true});
    }
  }
  return pieces;
}

}  // namespace

std::vector<Piece> Spell(const Tokens& tokens) {
  if (IsByteLevel(tokens)) return SpellBytes(tokens);
  std::vector<Piece> pieces;
  for (int i = 0; i < tokens.size(); ++i) {
    const auto index = static_cast<size_t>(i);
    absl::string_view token = tokens[i];
    const bool glued = pieces.empty() || IsContinuation(token);
    if (IsContinuation(token)) token.remove_prefix(2);
    pieces.push_back({std::string(token), index, index + 1, glued});
  }
  return pieces;
}

}  // namespace contextpool::cli
