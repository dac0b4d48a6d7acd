#include "clients/cli/text_inputs.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "clients/cli/utf8.h"

namespace contextpool::cli {
namespace {

// False if reading broke off.
bool AppendLines(std::istream& stream, std::vector<std::string>& lines) {
  std::string line;
  while (std::getline(stream, line)) {
    const bool ended_by_newline = !stream.eof();
    if (ended_by_newline && line.ends_with('\r')) line.pop_back();
    lines.push_back(std::move(line));
  }
  return !stream.bad();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadLines(const std::string& path,
                                                   std::istream& standard_input) {
  std::vector<std::string> lines;
  if (path == "-") {
    if (AppendLines(standard_input, lines)) return lines;
    return absl::NotFoundError("cannot read the standard input");
  }
  std::ifstream file(path, std::ios::binary);
  // Opening a folder succeeds; its first read does not.
  if (!file.is_open() || (file.peek(), file.bad()) || !(file.clear(), AppendLines(file, lines))) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", strerror(errno)));
  }
  return lines;
}

absl::StatusOr<std::vector<std::string>> ReadTexts(const std::vector<InputSource>& sources,
                                                   std::istream& standard_input) {
  std::vector<std::string> texts;
  for (const InputSource& source : sources) {
    if (source.kind == InputSource::Kind::kArgument) {
      texts.push_back(source.value);
      continue;
    }
    auto lines = ReadLines(source.value, standard_input);
    if (!lines.ok()) return lines.status();
    texts.insert(texts.end(), std::move_iterator(lines->begin()), std::move_iterator(lines->end()));
  }
  if (texts.empty()) return absl::InvalidArgumentError("no input: what was read holds no line");
  return texts;
}

absl::StatusOr<std::string> TextInputs::Load(size_t i) {
  if (IsValidUtf8(name(i))) return name(i);
  return absl::InvalidArgumentError("the text is not valid UTF-8");
}

}  // namespace contextpool::cli
