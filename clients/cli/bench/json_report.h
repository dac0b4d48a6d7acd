// The findings for programs.
#pragma once

#include <string>

#include "clients/cli/bench/findings.h"

namespace contextpool::cli::bench {

// One JSON object: settings, versions, host, server, and for every point its figures with their
// histograms. A point that was not offered has a reason and no figure. Times carry their unit in
// their name.
std::string JsonOf(const Findings& findings);

}  // namespace contextpool::cli::bench
