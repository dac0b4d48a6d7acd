// The life of the server: start, serve, drain, stop.
#pragma once

#include "absl/status/status.h"
#include "server/config/options.h"

namespace contextpool::server {

// Serves until SIGTERM or SIGINT, then finishes what was accepted. A second signal,
// more than a second after the first, ends the process at once, as does accepted work that takes
// longer than drain_timeout. An error is a start that failed. REQUIRES: called from the main
// thread, before other threads exist.
absl::Status Run(const Options& options);

}  // namespace contextpool::server
