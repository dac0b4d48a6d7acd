#include "server/config/repository.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "server/config/serving_config.h"

namespace contextpool::server {
namespace {

namespace fs = std::filesystem;

constexpr char kSettingsFile[] = "serving.textproto";
constexpr size_t kLongestName = 128;

absl::Status CannotRead(const fs::path& path, const std::error_code& error) {
  return absl::NotFoundError(
      absl::StrCat("--model_repository: cannot read ", path.string(), ": ", error.message()));
}

// An error: whether the file is there cannot be told.
absl::StatusOr<bool> IsFile(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::status_known(status)) return CannotRead(path, error);
  return fs::is_regular_file(status);
}

absl::StatusOr<bool> HoldsConfig(const fs::path& folder) { return IsFile(folder / "config.json"); }

// Folders and links to folders, sorted by name, hidden ones left out. With what may be one: its
// reader will meet the error.
absl::StatusOr<std::vector<fs::path>> Subfolders(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> result;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    const fs::file_status status = it->status(ignored);
    if (it->path().filename().string()[0] != '.' &&
        (fs::is_directory(status) || !fs::status_known(status))) {
      result.push_back(it->path());
    }
  }
  if (error) return CannotRead(folder, error);
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
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (!fs::status_known(status)) return CannotRead(path, error);
  if (!fs::exists(status)) return std::nullopt;
  const absl::StatusOr<bool> is_file = IsFile(path);
  if (!is_file.ok()) return is_file.status();
  if (!*is_file) {
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
    const absl::StatusOr<bool> holds_config = HoldsConfig(folder);
    if (!holds_config.ok()) return holds_config.status();
    if (*holds_config) versions[version] = folder;
  }
  return versions;
}

// Those that the policy chooses.
absl::StatusOr<std::set<int64_t>> ChosenVersions(const ServingSettings& settings,
                                                 const std::string& name,
                                                 const std::map<int64_t, fs::path>& versions) {
  std::set<int64_t> chosen(settings.specific_versions.begin(), settings.specific_versions.end());
  for (int64_t version : chosen) {
    if (versions.count(version) > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("model ", name, ": ", kSettingsFile,
                                                   ": version_policy.specific lists version ",
                                                   version, ", which has no folder"));
  }
  if (!chosen.empty()) return chosen;
  for (auto it = versions.rbegin(); it != versions.rend(); ++it) {
    if (chosen.size() >= static_cast<size_t>(settings.latest_versions)) break;
    chosen.insert(it->first);
  }
  return chosen;
}

std::string FolderName(const fs::path& folder) {
  const fs::path plain = folder.lexically_normal();
  return (plain.has_filename() ? plain : plain.parent_path()).filename().string();
}

engine::ModelSpec SpecOf(const fs::path& folder, const std::string& name, int64_t version,
                         const std::optional<ServingSettings>& settings) {
  engine::ModelSpec spec = settings ? settings->spec : engine::ModelSpec();
  spec.name = name;
  spec.version = version;
  spec.directory = folder.string();
  return spec;
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
  auto chosen = ChosenVersions(shared->value_or(ServingSettings()), name, *versions);
  if (!chosen.ok()) return chosen.status();
  std::vector<engine::ModelSpec> models;  // all or none
  for (const auto& [version, path] : *versions) {
    const bool serve = chosen->count(version) > 0;
    auto own = ReadSettings(path, VersionPolicy::kRefused);
    if (!own.ok() && serve) return own.status();
    if (!own.ok()) {
      repository.notes.push_back(std::string(own.status().message()));
      continue;
    }
    (serve ? models : repository.unchosen)
        .push_back(SpecOf(path, name, version, *own ? *own : *shared));
  }
  std::move(models.begin(), models.end(), std::back_inserter(repository.models));
  return absl::OkStatus();
}

absl::Status AddFolder(const fs::path& folder, const std::string& name, Repository& repository) {
  const absl::StatusOr<bool> holds_config = HoldsConfig(folder);
  if (!holds_config.ok()) return holds_config.status();
  if (!*holds_config) return AddVersions(folder, name, repository);
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  auto settings = ReadSettings(folder, VersionPolicy::kRefused);
  if (!settings.ok()) return settings.status();
  repository.models.push_back(SpecOf(folder, name, 1, *settings));
  return absl::OkStatus();
}

// The models' folders of one path.
absl::StatusOr<std::vector<fs::path>> ModelFolders(const std::string& path) {
  const absl::StatusOr<bool> is_model = HoldsConfig(path);
  if (!is_model.ok()) return is_model.status();
  if (!*is_model) return Subfolders(path);
  std::error_code ignored;
  return std::vector<fs::path>{fs::absolute(path, ignored)};
}

void AddPath(const std::string& path, RepositoryScan& scan) {
  const auto found = [&scan] {
    return scan.repository.models.size() + scan.repository.unchosen.size() + scan.faults.size();
  };
  const size_t before = found();
  const absl::StatusOr<std::vector<fs::path>> folders = ModelFolders(path);
  if (!folders.ok()) return scan.faults.push_back({"", folders.status()});
  for (const fs::path& folder : *folders) {
    const std::string name = FolderName(folder);
    absl::Status status = AddFolder(folder, name, scan.repository);
    if (!status.ok()) scan.faults.push_back({name, std::move(status)});
  }
  if (found() == before) scan.empty.push_back(path);
}

void Sort(std::vector<engine::ModelSpec>& models) {
  std::stable_sort(models.begin(), models.end(), [](const auto& a, const auto& b) {
    return std::tie(a.name, a.version) < std::tie(b.name, b.version);
  });
}

// Of models that share a name none can be meant.
void RemoveNamesakes(RepositoryScan& scan) {
  std::vector<engine::ModelSpec>& models = scan.repository.models;
  const auto differ = [](const engine::ModelSpec& a, const engine::ModelSpec& b) {
    // The same folder given twice is as wrong as two folders of one name.
    return a.name == b.name && (a.version == b.version || fs::path(a.directory).parent_path() !=
                                                              fs::path(b.directory).parent_path());
  };
  while (true) {
    const auto twin = std::adjacent_find(models.begin(), models.end(), differ);
    if (twin == models.end()) return;
    const std::string name = twin->name;
    scan.faults.push_back({name, absl::InvalidArgumentError(absl::StrCat(
                                     "two models are called ", name, ": ", twin->directory, " and ",
                                     std::next(twin)->directory, "; rename one of the folders"))});
    for (auto* specs : {&models, &scan.repository.unchosen}) {
      std::erase_if(*specs, [&](const engine::ModelSpec& spec) { return spec.name == name; });
    }
  }
}

}  // namespace

RepositoryScan ScanRepository(const std::vector<std::string>& paths) {
  RepositoryScan scan;
  for (const std::string& path : paths) AddPath(path, scan);
  Sort(scan.repository.models);
  Sort(scan.repository.unchosen);
  RemoveNamesakes(scan);
  return scan;
}

std::string WithoutLocations(absl::string_view message, const std::vector<std::string>& paths) {
  std::vector<std::pair<std::string, std::string>> names;
  for (const std::string& path : paths) {
    std::error_code ignored;
    const std::string location = fs::absolute(path, ignored).string();
    if (std::string name = FolderName(location); !name.empty()) {
      names.emplace_back(absl::StripSuffix(location, "/"), std::move(name));
    }
  }
  return absl::StrReplaceAll(message, names);
}

bool LiesIn(const std::string& directory, const std::string& path) {
  std::error_code ignored;
  const std::string below = fs::absolute(directory, ignored).string();
  const std::string location = fs::absolute(path, ignored).string();
  return below == location ||
         absl::StartsWith(below, absl::StrCat(absl::StripSuffix(location, "/"), "/"));
}

absl::StatusOr<Repository> FindModels(const std::vector<std::string>& paths) {
  if (paths.empty()) {
    return absl::InvalidArgumentError(
        "no models: give --model_repository=FOLDER, where FOLDER holds one folder per model, each"
        " with config.json, model.safetensors and tokenizer.json");
  }
  RepositoryScan scan = ScanRepository(paths);
  if (!scan.faults.empty()) return scan.faults.front().status;
  if (scan.repository.models.empty()) {
    return absl::NotFoundError(
        absl::StrCat("--model_repository=", absl::StrJoin(paths, ","),
                     ": no model found. A model is a folder with config.json, model.safetensors and"
                     " tokenizer.json, directly below one of these folders. ",
                     absl::StrJoin(scan.repository.notes, ". ")));
  }
  return std::move(scan.repository);
}

}  // namespace contextpool::server
