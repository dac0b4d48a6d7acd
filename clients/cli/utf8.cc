#include "clients/cli/utf8.h"

#include <locale.h>
#include <wchar.h>

#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"

namespace contextpool::cli {
namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";
constexpr absl::string_view kEllipsis = "\xE2\x80\xA6";

// The first character of a text.
struct Decoded {
  size_t bytes = 1;  // 1 for a malformed byte
  char32_t scalar = 0;
  bool valid = false;
};

Decoded DecodeFirst(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, lead, true};
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  char32_t scalar = lead & (0x7F >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    scalar = scalar << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (bytes == 3 && scalar < 0x800) || (bytes == 4 && scalar < 0x10000);
  const bool surrogate = scalar >= 0xD800 && scalar <= 0xDFFF;
  if (overlong || surrogate || scalar > 0x10FFFF) return {};
  return {bytes, scalar, true};
}

// Columns of one character; negative for control characters.
int ColumnsOf(char32_t scalar) {
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (utf8 == nullptr) return scalar < 0x20 || scalar == 0x7F ? -1 : 1;
  const locale_t before = uselocale(utf8);
  const int columns = wcwidth(static_cast<wchar_t>(scalar));
  uselocale(before);
  return columns;
}

}  // namespace

bool IsValidUtf8(absl::string_view text) {
  while (!text.empty()) {
    const Decoded first = DecodeFirst(text);
    if (!first.valid) return false;
    text.remove_prefix(first.bytes);
  }
  return true;
}

size_t DisplayWidth(absl::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const Decoded first = DecodeFirst(text);
    const int columns = first.valid ? ColumnsOf(first.scalar) : 1;
    width += columns < 0 ? 1 : columns;
    text.remove_prefix(first.bytes);
  }
  return width;
}

std::string Printable(absl::string_view text, size_t width) {
  std::string line;
  size_t kept = 0;  // bytes of the longest prefix that leaves a column for the ellipsis
  size_t used = 0;
  while (!text.empty()) {
    const Decoded first = DecodeFirst(text);
    const int columns = first.valid ? ColumnsOf(first.scalar) : -1;
    const bool shown = columns >= 0;
    used += shown ? columns : 1;
    if (used > width) return width == 0 ? "" : absl::StrCat(line.substr(0, kept), kEllipsis);
    const bool blank = first.valid && (first.scalar == '\t' || first.scalar == '\n');
    absl::StrAppend(&line, shown ? text.substr(0, first.bytes) : blank ? " " : kReplacement);
    if (used < width) kept = line.size();
    text.remove_prefix(first.bytes);
  }
  return line;
}

std::string PrintableEnd(absl::string_view text, size_t width) {
  std::string line = Printable(text, std::numeric_limits<size_t>::max());
  size_t used = DisplayWidth(line);
  if (used <= width) return line;
  if (width == 0) return "";
  absl::string_view end = line;
  while (used > width - 1) {
    const absl::string_view first = end.substr(0, DecodeFirst(end).bytes);
    used -= DisplayWidth(first);
    end.remove_prefix(first.size());
  }
  return absl::StrCat(kEllipsis, end);
}

std::string PadRight(absl::string_view text, size_t width) {
  const size_t used = DisplayWidth(text);
  return absl::StrCat(text, std::string(used < width ? width - used : 0, ' '));
}

std::string PadLeft(absl::string_view text, size_t width) {
  const size_t used = DisplayWidth(text);
  return absl::StrCat(std::string(used < width ? width - used : 0, ' '), text);
}

}  // namespace contextpool::cli
