// An operator's settings for one model: `serving.textproto`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/options.h"

namespace contextpool::server {

struct ServingSettings {
  // Name, version and directory are left for the caller.
  engine::ModelSpec spec;
  // Which versions to serve: these if any, else the `latest_versions` highest.
  std::vector<int64_t> specific_versions;
  int32_t latest_versions = 1;
};

// Whether the file stands beside version folders, where alone it can choose among them.
enum class VersionPolicy : uint8_t { kAllowed, kRefused };

// `text` is the file's content, `file` its name for messages. INVALID_ARGUMENT: "file:line: field:
// what is wrong and what is allowed", for unknown fields, values out of range, combinations that
// cannot work, and fields that this version does not act on.
absl::StatusOr<ServingSettings> ParseServingConfig(
    absl::string_view text, absl::string_view file,
    VersionPolicy versions = VersionPolicy::kAllowed);

}  // namespace contextpool::server
