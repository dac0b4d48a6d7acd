// Texts as inputs.
#pragma once

#include <cstddef>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "clients/cli/inputs.h"

namespace contextpool::cli {

// The lines of a file, or of the standard input where its name is "-": a final newline adds none,
// and a carriage return before a newline is dropped.
//
// NOT_FOUND: it cannot be read.
absl::StatusOr<std::vector<std::string>> ReadLines(const std::string& path,
                                                   std::istream& standard_input);

// The texts in the order of their sources. Files hold one text a line; an empty line is an empty
// text.
//
// NOT_FOUND: a file cannot be read. INVALID_ARGUMENT: there is no text at all.
absl::StatusOr<std::vector<std::string>> ReadTexts(const std::vector<InputSource>& sources,
                                                   std::istream& standard_input);

class TextInputs : public InputList {
 public:
  using InputList::InputList;

  bool are_images() const override { return false; }
  RequestLimits limits() const override { return {}; }
  size_t bytes(size_t i) const override { return name(i).size(); }
  // INVALID_ARGUMENT: the text is not valid UTF-8, which a request cannot carry.
  absl::StatusOr<std::string> Load(size_t i) override;
};

}  // namespace contextpool::cli
