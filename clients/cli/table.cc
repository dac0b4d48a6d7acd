#include "clients/cli/table.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "clients/cli/utf8.h"

namespace contextpool::cli {

std::string Table::Render(size_t indent) const {
  std::vector<std::vector<std::string>> lines;
  if (!columns_.front().title.empty()) {
    lines.emplace_back();
    for (const Column& column : columns_) lines.back().push_back(column.title);
  }
  lines.insert(lines.end(), rows_.begin(), rows_.end());
  std::vector<size_t> widths(columns_.size(), 0);
  for (const auto& line : lines) {
    if (line.size() != columns_.size()) continue;
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(line[i]));
  }
  std::string text;
  for (const auto& cells : lines) {
    std::string line(indent, ' ');
    for (size_t i = 0; i < cells.size(); ++i) {
      const std::string cell = cells.size() != columns_.size() ? cells[i]
                               : columns_[i].right             ? PadLeft(cells[i], widths[i])
                                                               : PadRight(cells[i], widths[i]);
      absl::StrAppend(&line, i == 0 ? "" : "  ", cell);
    }
    absl::StripTrailingAsciiWhitespace(&line);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

}  // namespace contextpool::cli
