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
#include "engine/base/options.h"

namespace contextpool::server {

struct Repository {
  // Sorted by name, then version. Never empty.
  std::vector<engine::ModelSpec> models;
  // What was passed over and why, one line each.
  std::vector<std::string> notes;
};

// NOT_FOUND: a path does not exist, or there is no model at all. INVALID_ARGUMENT: a
// serving.textproto is wrong, a name cannot be used, or two models share one.
absl::StatusOr<Repository> FindModels(const std::vector<std::string>& paths);

}  // namespace contextpool::server
