// Rows of terminal cells that are written to in any order.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace contextpool::cli {

enum class Ink { kPlain, kBold, kDim, kBar, kWindow };

// The text with the escape sequences of its ink.
std::string Inked(absl::string_view text, Ink ink);

class Canvas {
 public:
  // Puts text of `width` columns; what was there before is lost. Rows and columns grow as needed.
  void Put(size_t row, size_t column, absl::string_view text, size_t width, Ink ink);

  // Each row after `indent` spaces, without spaces at its end, followed by a newline. Empty rows
  // before the first text are left out.
  std::string Render(size_t indent, bool color) const;

 private:
  struct Cell {
    std::string text = " ";  // empty: covered by the wide text before it
    Ink ink = Ink::kPlain;
  };
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace contextpool::cli
