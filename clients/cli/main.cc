// contextpool: asks a ContextPool server from the command line.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "clients/cli/run.h"

namespace {

contextpool::cli::Terminal DescribeTerminal() {
  contextpool::cli::Terminal terminal;
  terminal.is_tty = isatty(STDOUT_FILENO);
  terminal.color = terminal.is_tty && getenv("NO_COLOR") == nullptr;
  winsize size{};
  if (terminal.is_tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    terminal.columns = size.ws_col;
  }
  return terminal;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  contextpool::cli::Environment environment{std::cin, std::cout, std::cerr, DescribeTerminal()};
  environment.err_is_tty = isatty(STDERR_FILENO);
  const char* server = getenv("CONTEXTPOOL_SERVER");
  if (server != nullptr && *server != '\0') environment.default_server = server;
  return contextpool::cli::Run(std::vector<std::string>(argv + 1, argv + argc), environment);
}
