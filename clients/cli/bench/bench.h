// `contextpool bench`, from its options to its exit status.
#pragma once

#include <string>
#include <vector>

#include "clients/cli/run.h"

namespace contextpool::cli::bench {

// Measures what `options.load` asks for. `file_texts`: the texts of the file that was named, or
// nothing. Ctrl-C (SIGINT) ends the run early and reports what was measured until then; a second
// one ends the program.
//
// Returns kExitFailed if the server cannot be asked, a load was not offered, a search found nothing
// about the server, the run was interrupted or a file cannot be written.
int RunBench(const Options& options, std::vector<std::string> file_texts,
             const Environment& environment);

}  // namespace contextpool::cli::bench
