// One run of the program, from its words to its exit status.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "clients/cli/printer.h"

namespace contextpool::cli {

constexpr int kExitOk = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

// The world around the program.
struct Environment {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  Terminal terminal;
  // Asked where --server is not given.
  std::string default_server = "localhost:8001";
  // Whether a person watches `err`.
  bool err_is_tty = false;
};

// `args`: the words after the program's name.
int Run(const std::vector<std::string>& args, const Environment& environment);

}  // namespace contextpool::cli
