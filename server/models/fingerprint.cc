#include "server/models/fingerprint.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace contextpool::server {
namespace {

namespace fs = std::filesystem;

// A model's own subfolders, such as 1_Pooling/, hold no further ones.
constexpr int kDeepest = 1;

bool IsPartOfAModel(const fs::path& path) {
  return path.extension() == ".json" || path.extension() == ".safetensors";
}

void AddFiles(const fs::path& folder, const std::string& prefix, int depth,
              std::vector<std::string>& lines) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    struct stat file {};
    if (name[0] == '.' || stat(it->path().c_str(), &file) != 0) continue;
    if (S_ISDIR(file.st_mode) && depth < kDeepest) {
      AddFiles(it->path(), absl::StrCat(prefix, name, "/"), depth + 1, lines);
    } else if (S_ISREG(file.st_mode) && IsPartOfAModel(it->path())) {
      lines.push_back(absl::StrCat(prefix, name, " ", file.st_size, " ", file.st_mtim.tv_sec, ".",
                                   file.st_mtim.tv_nsec, " ", file.st_dev, ":", file.st_ino));
    }
  }
}

}  // namespace

std::string Fingerprint(const std::string& folder) {
  std::vector<std::string> lines;
  AddFiles(folder, "", 0, lines);
  std::sort(lines.begin(), lines.end());
  return absl::StrJoin(lines, "\n");
}

}  // namespace contextpool::server
