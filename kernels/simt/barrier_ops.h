// Barriers of the running thread's block.
#pragma once

#include <cstdint>

#include "kernels/simt/site.h"

namespace contextpool::kernels::simt {

// __syncthreads: every thread of the block, from the same source line.
void MeetBlock(Site site);

// bar.sync (`waits`) or bar.arrive on a named barrier, 1 to 15, for `threads` threads.
void MeetNamed(uint32_t barrier, uint32_t threads, bool waits, Site site);

}  // namespace contextpool::kernels::simt
