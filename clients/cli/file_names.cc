#include "clients/cli/file_names.h"

#include <glob.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "clients/cli/text_inputs.h"

namespace contextpool::cli {
namespace {

namespace fs = std::filesystem;

bool HasImageExtension(const std::string& name) {
  constexpr std::array<absl::string_view, 4> kExtensions = {".jpg", ".jpeg", ".png", ".webp"};
  return std::any_of(kExtensions.begin(), kExtensions.end(), [&](absl::string_view extension) {
    return absl::EndsWithIgnoreCase(name, extension);
  });
}

absl::Status AppendFolder(const std::string& folder, std::vector<std::string>& names) {
  const size_t before = names.size();
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    std::string name = entry->path().string();
    if (HasImageExtension(name) && !entry->is_directory(ignored)) names.push_back(std::move(name));
  }
  if (error) {
    return absl::NotFoundError(absl::StrCat("cannot read ", folder, ": ", error.message()));
  }
  if (names.size() == before) {
    return absl::NotFoundError(absl::StrCat("no *.jpg, *.jpeg, *.png or *.webp file in ", folder));
  }
  std::sort(names.begin() + static_cast<ptrdiff_t>(before), names.end());
  return absl::OkStatus();
}

absl::Status AppendFileOrFolder(std::string path, std::vector<std::string>& names) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return AppendFolder(path, names);
  names.push_back(path == kStandardInputName ? absl::StrCat("./", path) : std::move(path));
  return absl::OkStatus();
}

absl::Status AppendMatches(const std::string& pattern, std::vector<std::string>& names) {
  glob_t matches = {};
  const absl::Cleanup free_matches = [&] { globfree(&matches); };
  const int result = glob(pattern.c_str(), 0, nullptr, &matches);
  if (result == GLOB_NOMATCH) {
    return absl::NotFoundError(absl::StrCat("no file matches '", pattern, "'"));
  }
  if (result != 0) return absl::NotFoundError(absl::StrCat("cannot look for '", pattern, "'"));
  for (size_t i = 0; i < matches.gl_pathc; ++i) {
    absl::Status appended = AppendFileOrFolder(matches.gl_pathv[i], names);
    if (!appended.ok()) return appended;
  }
  return absl::OkStatus();
}

absl::Status AppendArgument(const std::string& word, std::vector<std::string>& names) {
  std::error_code ignored;
  const bool pattern = word.find_first_of("*?[") != std::string::npos;
  if (pattern && !fs::exists(word, ignored)) return AppendMatches(word, names);
  return AppendFileOrFolder(word, names);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> NameFiles(const std::vector<InputSource>& sources,
                                                   std::istream& standard_input) {
  std::vector<std::string> names;
  for (const InputSource& source : sources) {
    if (source.kind == InputSource::Kind::kStandardInput) {
      names.emplace_back(kStandardInputName);
    } else if (source.kind == InputSource::Kind::kArgument) {
      const absl::Status appended = AppendArgument(source.value, names);
      if (!appended.ok()) return appended;
    } else {
      auto lines = ReadLines(source.value, standard_input);
      if (!lines.ok()) return lines.status();
      for (std::string& line : *lines) {
        names.push_back(line == kStandardInputName ? absl::StrCat("./", line) : std::move(line));
      }
    }
  }
  if (names.empty()) return absl::InvalidArgumentError("no input: what was read names no file");
  return names;
}

}  // namespace contextpool::cli
