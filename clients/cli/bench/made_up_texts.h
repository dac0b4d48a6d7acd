// Texts where no file gives any.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "clients/cli/bench/load_options.h"
#include "clients/cli/bench/random.h"

namespace contextpool::cli::bench {

// `count` texts of common English words, their numbers drawn from `lengths`. How many tokens a word
// is, the server's tokeniser decides.
std::vector<std::string> MakeUpTexts(const TextLengths& lengths, size_t count, Random& random);

}  // namespace contextpool::cli::bench
