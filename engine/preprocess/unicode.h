// UTF-8 and the per-character questions that tokenisers ask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "engine/preprocess/paged_table.h"
#include "engine/preprocess/unicode_tables.h"

namespace contextpool::engine {

// The CodePointFlag bits of every code point. Built on first use.
const PagedTable<uint8_t>& CodePointFlags();

// Offset of the first byte that is not part of well-formed UTF-8 (no surrogates, no overlong
// forms, nothing above U+10FFFF); the size of `text` when all of it is well formed.
size_t FirstInvalidUtf8(absl::string_view text);

void AppendUtf8(char32_t code_point, std::string& out);

struct DecodedCodePoint {
  char32_t value;
  uint32_t size_bytes;
};

// The code point at `p`. REQUIRES: well-formed UTF-8 with a character starting at `p`.
inline DecodedCodePoint DecodeUtf8(const char* p) {
  const auto byte = [p](int i) { return static_cast<char32_t>(static_cast<uint8_t>(p[i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

// The last code point of `text`. REQUIRES: well-formed UTF-8, not empty.
DecodedCodePoint DecodeLastUtf8(absl::string_view text);

}  // namespace contextpool::engine
