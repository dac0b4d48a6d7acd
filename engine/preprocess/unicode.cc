#include "engine/preprocess/unicode.h"

#include <cstring>
#include <vector>

namespace contextpool::engine {
namespace {

std::vector<uint8_t> CollectFlags() {
  std::vector<uint8_t> flags(kCodePoints, 0);
  for (const FlagRange& range : kFlagRanges) {
    for (char32_t c = range.first; c <= range.last; ++c) flags[c] |= range.flag;
  }
  return flags;
}

// Length of the well-formed multi-byte character at the start of p[0, size); 0 for none.
// Unicode 15, table 3-7.
size_t MultiByteLength(const uint8_t* p, size_t size) {
  const uint8_t lead = p[0];
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (size < length) return 0;
  uint8_t low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  if (p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((p[i] & 0xC0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

const PagedTable<uint8_t>& CodePointFlags() {
  static const auto& table = *new PagedTable<uint8_t>(CollectFlags());
  return table;
}

size_t FirstInvalidUtf8(absl::string_view text) {
  const auto* data = reinterpret_cast<const uint8_t*>(text.data());
  size_t i = 0;
  while (i < text.size()) {
    uint64_t eight;
    while (i + sizeof(eight) <= text.size()) {
      std::memcpy(&eight, data + i, sizeof(eight));
      if ((eight & 0x8080808080808080u) != 0) break;
      i += sizeof(eight);
    }
    if (i == text.size()) break;
    if (data[i] < 0x80) {
      ++i;
      continue;
    }
    const size_t length = MultiByteLength(data + i, text.size() - i);
    if (length == 0) return i;
    i += length;
  }
  return i;
}

void AppendUtf8(char32_t c, std::string& out) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

DecodedCodePoint DecodeLastUtf8(absl::string_view text) {
  const char* p = text.data() + text.size() - 1;
  while ((static_cast<uint8_t>(*p) & 0xC0) == 0x80) --p;
  return DecodeUtf8(p);
}

}  // namespace contextpool::engine
