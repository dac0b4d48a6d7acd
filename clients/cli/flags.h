// The table of flags: what each command takes, and how --help shows it.
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
};

constexpr unsigned CommandBit(Command command) { return 1u << static_cast<unsigned>(command); }

std::span<const Flag> AllFlags();

// One of the program's verbs.
struct CommandHelp {
  Command command;
  const char* name;
  const char* summary;
  const char* usage;
  const char* description;
  const char* examples;
};

std::span<const CommandHelp> AllCommands();

// What `contextpool --help` and `contextpool COMMAND --help` print.
std::string ProgramHelp();
std::string HelpOf(const CommandHelp& command);

}  // namespace contextpool::cli
