// The server's program: reads the command line and runs.
#include <cstdio>

#include "absl/status/status.h"
#include "google/protobuf/stubs/logging.h"
#include "server/config/flags.h"
#include "server/observe/http_server.h"
#include "server/observe/version.h"
#include "server/run.h"

namespace {

int Report(const absl::Status& status) {
  if (status.ok()) return 0;
  const std::string message(status.message());
  std::fprintf(stderr, "contextpool-server: %s\n", message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  namespace server = contextpool::server;
  using server::Mode;
  // Callers' broken messages are answered, not written to our log.
  google::protobuf::SetLogHandler(nullptr);
  const absl::StatusOr<server::CommandLine> line = server::ParseCommandLine(argc, argv);
  if (!line.ok()) return Report(line.status());
  switch (line->mode) {
    case Mode::kHelp:
      std::fputs(server::HelpText().c_str(), stdout);
      return 0;
    case Mode::kVersion:
      std::printf("contextpool-server %s\n", server::kVersion);
      return 0;
    case Mode::kHealthCheck:
      return Report(server::CheckReady(line->options.bind_address, line->options.metrics_port));
    case Mode::kServe:
      return Report(server::Run(line->options));
  }
}
