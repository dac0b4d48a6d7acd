// The command line: the only place that defines or reads flags.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/config/options.h"

namespace contextpool::server {

enum class Mode : uint8_t { kServe, kHealthCheck, kHelp, kVersion };

struct CommandLine {
  Mode mode = Mode::kServe;
  Options options;
};

// Parses and validates. Values that do not parse and flags that do not exist end the process with
// a message, as Abseil does; INVALID_ARGUMENT names a flag whose value is out of range.
// REQUIRES: called once, before other threads exist.
absl::StatusOr<CommandLine> ParseCommandLine(int argc, char** argv);

// Every flag with its meaning, unit and default.
std::string HelpText();

}  // namespace contextpool::server
