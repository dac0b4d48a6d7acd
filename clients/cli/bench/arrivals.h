// When the calls of an open loop are due.
#pragma once

#include <vector>

#include "clients/cli/bench/load_options.h"
#include "clients/cli/bench/random.h"

namespace contextpool::cli::bench {

// Times from the start, ascending, all before `span`. They are known before the first call is sent
// and depend on no answer. kConstant: every 1/rate seconds from 0 on. kPoisson: independent gaps,
// exponentially distributed with mean 1/rate, so that the number of calls in a time t has mean and
// variance rate * t. REQUIRES: 0 < rate_per_s <= kHighestRate.
std::vector<Nanoseconds> ArrivalTimes(ArrivalShape shape, double rate_per_s, Nanoseconds span,
                                      Random& random);

}  // namespace contextpool::cli::bench
