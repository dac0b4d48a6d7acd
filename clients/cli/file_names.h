// The image files that the words of a command line mean.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "clients/cli/inputs.h"

namespace contextpool::cli {

// The name that stands for the standard input. No file is called so here: one of that name is
// "./-".
inline constexpr absl::string_view kStandardInputName = "-";

// The files in the order of their sources.
//
// A word is the name of a file. One with *, ? or [ that is no file's name is a pattern as a shell
// knows it, and means the sorted names that match. A folder, named or matched, means the *.jpg,
// *.jpeg, *.png and *.webp files in it (any case), sorted; folders in it are not looked into. The
// lines of an --input file are names as they are. Whether a file can be read shows when it is.
//
// NOT_FOUND: a pattern matches nothing, a folder holds no image, or one of them or an --input file
// cannot be read. INVALID_ARGUMENT: there is no name at all.
absl::StatusOr<std::vector<std::string>> NameFiles(const std::vector<InputSource>& sources,
                                                   std::istream& standard_input);

}  // namespace contextpool::cli
