// The texts of a run: where they come from, and how they are cut into requests.
#pragma once

#include <cstddef>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace contextpool::cli {

// Where texts come from.
struct InputSource {
  enum class Kind { kText, kFile };
  Kind kind = Kind::kText;
  // The text itself, or the file's name; the file "-" is the standard input.
  std::string value;
};

// The texts in the order of their sources. Files hold one text a line: an empty line is an empty
// text, a final newline adds none, and a carriage return before a newline is dropped.
//
// NOT_FOUND: a file cannot be read. INVALID_ARGUMENT: there is no text at all.
absl::StatusOr<std::vector<std::string>> ReadInputs(const std::vector<InputSource>& sources,
                                                    std::istream& standard_input);

// Bounds of one request, small enough for a server's defaults and for several in flight.
struct RequestLimits {
  size_t max_inputs = 256;
  size_t max_bytes = 1 << 20;
};

// The inputs [first, first + count).
struct Chunk {
  size_t first = 0;
  size_t count = 0;
  // False: the chunk is one text that is no UTF-8, which a request cannot carry.
  bool valid_utf8 = true;
};

// Covers all texts in order. Every chunk keeps the limits, or is a single text.
std::vector<Chunk> PlanRequests(const std::vector<std::string>& texts, const RequestLimits& limits);

}  // namespace contextpool::cli
