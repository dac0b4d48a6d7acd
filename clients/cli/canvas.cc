#include "clients/cli/canvas.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

namespace contextpool::cli {
namespace {

// By Ink; https://en.wikipedia.org/wiki/ANSI_escape_code#Select_Graphic_Rendition_parameters
constexpr std::array<absl::string_view, 5> kCodes = {"", "1", "2", "36", "33"};

}  // namespace

std::string Inked(absl::string_view text, Ink ink) {
  if (ink == Ink::kPlain || text.empty()) return std::string(text);
  return absl::StrCat("\x1B[", kCodes[static_cast<size_t>(ink)], "m", text, "\x1B[0m");
}

void Canvas::Put(size_t row, size_t column, absl::string_view text, size_t width, Ink ink) {
  if (width == 0) return;
  if (rows_.size() <= row) rows_.resize(row + 1);
  std::vector<Cell>& cells = rows_[row];
  if (cells.size() < column + width) cells.resize(column + width);
  cells[column] = {std::string(text), ink};
  for (size_t i = 1; i < width; ++i) cells[column + i] = {"", ink};
}

std::string Canvas::Render(size_t indent, bool color) const {
  std::string result;
  for (const std::vector<Cell>& cells : rows_) {
    const auto last = std::find_if(cells.rbegin(), cells.rend(), [](const Cell& cell) {
                        return cell.text != " ";
                      }).base();
    if (result.empty() && last == cells.begin()) continue;
    if (last != cells.begin()) result.append(indent, ' ');
    // Neighbours of one ink share their escape sequences.
    for (auto cell = cells.begin(); cell != last;) {
      const auto end = std::find_if(cell, last, [&](const Cell& c) { return c.ink != cell->ink; });
      std::string run;
      for (auto c = cell; c != end; ++c) run += c->text;
      result += color ? Inked(run, cell->ink) : run;
      cell = end;
    }
    result += '\n';
  }
  return result;
}

}  // namespace contextpool::cli
