// Tokens as a person writes them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "google/protobuf/repeated_ptr_field.h"

namespace contextpool::cli {

// One or more tokens that are drawn as one.
struct Piece {
  // May hold anything, control characters and malformed UTF-8 too.
  std::string text;
  // The tokens [begin, end): several where characters are divided between tokens.
  size_t begin = 0;
  size_t end = 0;
  // Whether it follows the piece before without a space.
  bool glued = false;
};

// Every token in its place, in order.
//
// WordPiece: tokens are words, except that "##ing" goes on with the one before.
//
// Byte-level vocabularies spell each of the 256 bytes as a letter of its own, for example a space
// as U+0120 (https://github.com/openai/gpt-2, bytes_to_unicode). There tokens stand side by side,
// and the bytes of a character, which may be tokens each, become that character.
//
// A reply does not say which of the two a vocabulary is. Byte-level is what has only such letters
// and either one that stands for a byte that is no printable letter itself, or no token of more
// than one letter, <special> ones aside; and nothing that only WordPiece has ("##ing", [CLS]).
std::vector<Piece> Spell(const google::protobuf::RepeatedPtrField<std::string>& tokens);

}  // namespace contextpool::cli
