// Reads what ContextPool chose in a batch, from a host copy of ModelOutput::context_pool:
// [layers, 2, total_tokens], log2 of the pooling weights and the support sizes of each layer.
#pragma once

#include <cstdint>
#include <span>

#include "engine/base/stats.h"
#include "engine/device/device.h"

namespace contextpool::engine {

// Writes what was chosen for the tokens from `begin` on to `target`: [layers, 2, tokens] as
// Explanation::context_pool, as many tokens as it has room for.
//
// REQUIRES: begin + tokens <= total_tokens.
void CopyExplanation(std::span<const float> chosen, int64_t total_tokens, int64_t begin,
                     std::span<float> target);

// Counts the support sizes of the pooled tokens and the batch's tiles. Sizes that are not finite,
// of inputs that fail, are left out.
//
// REQUIRES: counters.support_size has one histogram per layer.
void Observe(std::span<const float> chosen, const kernels::ContextPoolTiles& tiles,
             ContextPoolCounters& counters);

}  // namespace contextpool::engine
