// Finds the models of the repository.
//
//   <repository>/<model>/config.json            version 1
//   <repository>/<model>/<number>/config.json   that version; the highest serves by default
//
// <model> may be a folder or a link to one. A folder that itself holds config.json may also be
// given in place of a repository. serving.textproto stands beside config.json; with versions, the
// one beside the version folders counts for all that have none of their own.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/options.h"

namespace contextpool::server {

struct Repository {
  // What the version policies choose. Sorted by name, then version.
  std::vector<engine::ModelSpec> models;
  // Versions that are there besides. In the same order.
  std::vector<engine::ModelSpec> unchosen;
  // What was passed over and why, one line each.
  std::vector<std::string> notes;
};

// Why a model of the repository cannot be told from its files.
struct RepositoryFault {
  // The folder's name, whatever it is; empty: one of the paths could not be read, or holds nothing
  // any more, so that models may be missing.
  std::string model;
  absl::Status status;
};

struct RepositoryScan {
  // Without the models that have a fault.
  Repository repository;
  std::vector<RepositoryFault> faults;
  // Those of the paths that could be read and hold no model, not even one with a fault.
  std::vector<std::string> empty;
};

// Looks at the folders as they are now. What is wrong with one model does not hide the others.
RepositoryScan ScanRepository(const std::vector<std::string>& paths);

// A fault's message for those who are not to know where the repositories lie: each of the paths is
// called by its last part.
std::string WithoutLocations(absl::string_view message, const std::vector<std::string>& paths);

// Whether a model's directory, as a spec has it, was found in this path.
bool LiesIn(const std::string& directory, const std::string& path);

// As ScanRepository, but the first fault and a repository without models are errors. NOT_FOUND: a
// path does not exist, or there is no model at all. INVALID_ARGUMENT: a serving.textproto is wrong,
// a name cannot be used, or two models share one.
absl::StatusOr<Repository> FindModels(const std::vector<std::string>& paths);

}  // namespace contextpool::server
