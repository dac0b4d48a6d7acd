// The life of the server: start, serve, drain, stop.
#pragma once

#include "absl/status/status.h"
#include "server/config/options.h"

namespace contextpool::server {

// Serves until SIGTERM or SIGINT, then finishes what was accepted. A second signal, a second or
// more after the first, ends the process at once. drain_timeout bounds the end: what has not ended
// two seconds after it ends with the process. An error: the start failed, or accepted work was not
// finished. REQUIRES: called from the main thread, before other threads exist.
absl::Status Run(const Options& options);

}  // namespace contextpool::server
