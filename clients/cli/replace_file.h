// Files that are written in one step.
#pragma once

#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace contextpool::cli {

// Writes the parts one after another to `path`: readers see the old file or the whole new one.
//
// FAILED_PRECONDITION: the path is something else than a regular file. UNAVAILABLE: the system
// refused; the message names the file.
absl::Status ReplaceFile(const std::string& path, std::initializer_list<absl::string_view> parts);

}  // namespace contextpool::cli
