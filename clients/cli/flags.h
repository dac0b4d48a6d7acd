// The table of flags: what each command takes.
#pragma once

#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "clients/cli/options.h"

namespace contextpool::cli {

// One flag of one or several commands.
struct Flag {
  const char* name;
  // 0 where there is none.
  char short_name;
  // Shown after the name; null for a switch.
  const char* value_name;
  // Bits of CommandBit.
  unsigned commands;
  const char* help;
  // Stores the value ("" for a switch). An error says what would be right, not which flag it was.
  absl::Status (*apply)(const std::string& value, Options& options);
  // Whether it may stand without its value, as in --explain and --explain=FILE; then `apply` gets
  // "".
  bool optional_value = false;
};

constexpr unsigned CommandBit(Command command) { return 1u << static_cast<unsigned>(command); }

std::span<const Flag> AllFlags();

}  // namespace contextpool::cli
