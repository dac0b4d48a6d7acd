// Just enough UTF-8 to check what is sent and to line up what is shown.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace contextpool::cli {

// True if protobuf may carry the text in a string field: no overlong forms, no surrogates.
bool IsValidUtf8(absl::string_view text);

// Terminal columns that the text takes: 2 for wide characters, 0 for combining ones.
size_t DisplayWidth(absl::string_view text);

// The text on one line of at most `width` columns: control characters and malformed bytes become
// U+FFFD, what does not fit becomes an ellipsis. Safe to print: no escape sequence survives.
std::string Printable(absl::string_view text, size_t width);

// The same, but what does not fit is left out at the start.
std::string PrintableEnd(absl::string_view text, size_t width);

// The text, followed or (right) preceded by spaces up to `width` columns.
std::string PadRight(absl::string_view text, size_t width);
std::string PadLeft(absl::string_view text, size_t width);

}  // namespace contextpool::cli
