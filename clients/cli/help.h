// What each command is, and how --help shows it.
#pragma once

#include <span>
#include <string>

#include "clients/cli/options.h"

namespace contextpool::cli {

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
