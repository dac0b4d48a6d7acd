// Shuffles, votes and __syncwarp of the running thread.
#pragma once

#include <cstdint>

#include "kernels/simt/site.h"

namespace contextpool::kernels::simt {

enum class ShuffleKind : uint8_t { kIndex, kUp, kDown, kXor };

// `value` of the lane that `kind` and `operand` choose (PTX shfl.sync, segments of 32 lanes).
// Raises kDivergentCollective if that lane takes no part.
uint64_t Shuffle(ShuffleKind kind, uint64_t value, uint32_t operand, uint32_t mask, Site site);

enum class VoteKind : uint8_t { kBallot, kAny, kAll };

// The lanes of `mask` whose predicate holds (PTX vote.sync). The kind only names the collective.
uint32_t Vote(VoteKind kind, bool predicate, uint32_t mask, Site site);

void MeetWarp(uint32_t mask, Site site);

}  // namespace contextpool::kernels::simt
