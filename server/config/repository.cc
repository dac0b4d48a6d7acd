#include "server/config/repository.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "server/config/serving_config.h"

namespace contextpool::server {
namespace {

namespace fs = std::filesystem;

constexpr char kSettingsFile[] = "serving.textproto";
constexpr size_t kLongestName = 128;

bool IsFile(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool HoldsConfig(const fs::path& folder) { return IsFile(folder / "config.json"); }

// Folders and links to folders, sorted by name, hidden ones left out.
absl::StatusOr<std::vector<fs::path>> Subfolders(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> result;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->path().filename().string()[0] != '.' && it->is_directory(ignored)) {
      result.push_back(it->path());
    }
  }
  if (error) {
    return absl::NotFoundError(absl::StrCat("--model_repository: cannot read the folder ",
                                            folder.string(), ": ", error.message()));
  }
  std::sort(result.begin(), result.end());
  return result;
}

// Names become metric labels and message text, so they are kept plain.
absl::Status CheckName(absl::string_view name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (plain && !name.empty() && name.size() <= kLongestName) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("model folder \"", absl::Utf8SafeCEscape(name),
                   "\": a model's name is its folder's name and has 1 to ", kLongestName,
                   " letters, digits, '.', '_' or '-'; rename the folder or link to it"));
}

absl::StatusOr<std::optional<ServingSettings>> ReadSettings(const fs::path& folder,
                                                            VersionPolicy versions) {
  const fs::path path = folder / kSettingsFile;
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(path, ignored))) return std::nullopt;
  if (!IsFile(path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": not a file, or a link to none; repair or remove it"));
  }
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": the file cannot be read"));
  }
  absl::StatusOr<ServingSettings> settings = ParseServingConfig(text, path.string(), versions);
  if (!settings.ok()) return settings.status();
  return std::optional<ServingSettings>(*std::move(settings));
}

absl::StatusOr<std::map<int64_t, fs::path>> VersionFolders(const fs::path& model) {
  std::map<int64_t, fs::path> versions;
  absl::StatusOr<std::vector<fs::path>> folders = Subfolders(model);
  if (!folders.ok()) return folders.status();
  for (const fs::path& folder : *folders) {
    int64_t version = 0;
    const std::string name = folder.filename().string();
    if (!absl::SimpleAtoi(name, &version) || version < 1 || name != absl::StrCat(version)) continue;
    if (HoldsConfig(folder)) versions[version] = folder;
  }
  return versions;
}

absl::Status SelectVersions(const ServingSettings& settings, const std::string& name,
                            std::map<int64_t, fs::path>& versions) {
  if (settings.specific_versions.empty()) {
    while (versions.size() > static_cast<size_t>(settings.latest_versions)) {
      versions.erase(versions.begin());
    }
    return absl::OkStatus();
  }
  std::map<int64_t, fs::path> selected;
  for (int64_t version : settings.specific_versions) {
    const auto found = versions.find(version);
    if (found == versions.end()) {
      return absl::InvalidArgumentError(absl::StrCat("model ", name, ": ", kSettingsFile,
                                                     ": version_policy.specific lists version ",
                                                     version, ", which has no folder"));
    }
    selected.insert(*found);
  }
  versions = std::move(selected);
  return absl::OkStatus();
}

std::string FolderName(const fs::path& folder) {
  const fs::path plain = folder.lexically_normal();
  return (plain.has_filename() ? plain : plain.parent_path()).filename().string();
}

void AddModel(const fs::path& folder, const std::string& name, int64_t version,
              const std::optional<ServingSettings>& settings, Repository& repository) {
  engine::ModelSpec spec = settings ? settings->spec : engine::ModelSpec();
  spec.name = name;
  spec.version = version;
  spec.directory = folder.string();
  repository.models.push_back(std::move(spec));
}

absl::Status AddVersions(const fs::path& folder, const std::string& name, Repository& repository) {
  absl::StatusOr<std::map<int64_t, fs::path>> versions = VersionFolders(folder);
  if (!versions.ok()) return versions.status();
  if (versions->empty()) {
    repository.notes.push_back(
        absl::StrCat(folder.string(), ": passed over, it holds neither config.json nor a version",
                     " folder such as 1/ with one"));
    return absl::OkStatus();
  }
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  auto shared = ReadSettings(folder, VersionPolicy::kAllowed);
  if (!shared.ok()) return shared.status();
  absl::Status status = SelectVersions(shared->value_or(ServingSettings()), name, *versions);
  if (!status.ok()) return status;
  for (const auto& [version, path] : *versions) {
    auto own = ReadSettings(path, VersionPolicy::kRefused);
    if (!own.ok()) return own.status();
    AddModel(path, name, version, *own ? *own : *shared, repository);
  }
  return absl::OkStatus();
}

absl::Status AddFolder(const fs::path& folder, Repository& repository) {
  const std::string name = FolderName(folder);
  if (!HoldsConfig(folder)) return AddVersions(folder, name, repository);
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  auto settings = ReadSettings(folder, VersionPolicy::kRefused);
  if (!settings.ok()) return settings.status();
  AddModel(folder, name, 1, *settings, repository);
  return absl::OkStatus();
}

absl::Status SortAndCheckUnique(std::vector<engine::ModelSpec>& models) {
  const auto key = [](const engine::ModelSpec& spec) { return std::pair(spec.name, spec.version); };
  std::sort(models.begin(), models.end(),
            [&](const auto& a, const auto& b) { return key(a) < key(b); });
  const auto twin =
      std::adjacent_find(models.begin(), models.end(), [](const auto& a, const auto& b) {
        // The same folder given twice is as wrong as two folders of one name.
        return a.name == b.name &&
               (a.version == b.version ||
                fs::path(a.directory).parent_path() != fs::path(b.directory).parent_path());
      });
  if (twin == models.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("two models are called ", twin->name, ": ", twin->directory, " and ",
                   std::next(twin)->directory, "; rename one of the folders"));
}

}  // namespace

absl::StatusOr<Repository> FindModels(const std::vector<std::string>& paths) {
  if (paths.empty()) {
    return absl::InvalidArgumentError(
        "no models: give --model_repository=FOLDER, where FOLDER holds one folder per model, each"
        " with config.json, model.safetensors and tokenizer.json");
  }
  Repository repository;
  for (const std::string& path : paths) {
    absl::Status status;
    if (HoldsConfig(path)) {
      std::error_code ignored;
      status = AddFolder(fs::absolute(path, ignored), repository);
    } else {
      absl::StatusOr<std::vector<fs::path>> folders = Subfolders(path);
      if (!folders.ok()) return folders.status();
      for (const fs::path& folder : *folders) {
        if (status = AddFolder(folder, repository); !status.ok()) return status;
      }
    }
    if (!status.ok()) return status;
  }
  if (repository.models.empty()) {
    return absl::NotFoundError(
        absl::StrCat("--model_repository=", absl::StrJoin(paths, ","),
                     ": no model found. A model is a folder with config.json, model.safetensors and"
                     " tokenizer.json, directly below one of these folders. ",
                     absl::StrJoin(repository.notes, ". ")));
  }
  if (absl::Status status = SortAndCheckUnique(repository.models); !status.ok()) return status;
  return repository;
}

}  // namespace contextpool::server
