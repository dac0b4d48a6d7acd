// The mix of calls: who is urgent, and until when.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "clients/cli/bench/load_options.h"
#include "clients/cli/bench/random.h"

namespace contextpool::cli::bench {

// Calls that differ from others in nothing but their text.
struct CallKind {
  bool bulk = false;
  std::optional<Nanoseconds> deadline;
  double share = 1;
};

// Every class with every deadline, kinds of share 0 left out. The shares add up to 1.
std::vector<CallKind> CallKinds(const LoadOptions& options);

// The index of a kind, drawn by the shares. REQUIRES: `kinds` is not empty.
size_t DrawKind(std::span<const CallKind> kinds, Random& random);

}  // namespace contextpool::cli::bench
