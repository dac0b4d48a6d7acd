// Columns of text that line up on a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace contextpool::cli {

class Table {
 public:
  struct Column {
    // No column of the table has a title, or all have.
    std::string title = {};
    bool right = false;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: one cell per column.
  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // A line of its own under the last row.
  void AddNote(std::string line) { rows_.push_back({std::move(line)}); }

  // Every line starts with `indent` spaces and ends with a newline, without spaces before it.
  std::string Render(size_t indent) const;

 private:
  std::vector<Column> columns_;
  // One cell for a note.
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace contextpool::cli
