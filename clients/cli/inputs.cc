#include "clients/cli/inputs.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "clients/cli/utf8.h"

namespace contextpool::cli {
namespace {

// False if reading broke off.
bool ReadLines(std::istream& stream, std::vector<std::string>& texts) {
  std::string line;
  while (std::getline(stream, line)) {
    const bool ended_by_newline = !stream.eof();
    if (ended_by_newline && line.ends_with('\r')) line.pop_back();
    texts.push_back(std::move(line));
  }
  return !stream.bad();
}

absl::Status ReadFile(const std::string& path, std::vector<std::string>& texts) {
  std::ifstream file(path, std::ios::binary);
  // Opening a folder succeeds; its first read does not.
  if (!file.is_open() || (file.peek(), file.bad()) || !(file.clear(), ReadLines(file, texts))) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadInputs(const std::vector<InputSource>& sources,
                                                    std::istream& standard_input) {
  std::vector<std::string> texts;
  for (const InputSource& source : sources) {
    if (source.kind == InputSource::Kind::kText) {
      texts.push_back(source.value);
    } else if (source.value != "-") {
      const absl::Status read = ReadFile(source.value, texts);
      if (!read.ok()) return read;
    } else if (!ReadLines(standard_input, texts)) {
      return absl::NotFoundError("cannot read the standard input");
    }
  }
  if (texts.empty()) {
    return absl::InvalidArgumentError(
        sources.empty() ? "no input: give TEXT, '-' to read the standard input, or --input FILE"
                        : "no input: what was read holds no line");
  }
  return texts;
}

std::vector<Chunk> PlanRequests(const std::vector<std::string>& texts,
                                const RequestLimits& limits) {
  std::vector<Chunk> chunks;
  size_t bytes = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const bool valid = IsValidUtf8(texts[i]);
    bytes += texts[i].size();
    const bool joins = valid && !chunks.empty() && chunks.back().valid_utf8 &&
                       chunks.back().count < limits.max_inputs && bytes <= limits.max_bytes;
    if (joins) {
      ++chunks.back().count;
    } else {
      chunks.push_back({.first = i, .count = 1, .valid_utf8 = valid});
      bytes = texts[i].size();
    }
  }
  return chunks;
}

}  // namespace contextpool::cli
