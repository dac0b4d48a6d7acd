// Counts what the program allocates. A program that is linked with it has its own operator new.
#pragma once

#include <cstdint>

namespace contextpool::engine {

// Calls of operator new since the program began.
int64_t Allocations();

}  // namespace contextpool::engine
