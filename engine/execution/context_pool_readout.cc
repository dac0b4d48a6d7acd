#include "engine/execution/context_pool_readout.h"

#include <algorithm>
#include <cmath>

namespace contextpool::engine {

void CopyExplanation(std::span<const float> chosen, int64_t total_tokens, int64_t begin,
                     std::span<float> target) {
  const size_t rows = chosen.size() / total_tokens;  // layers * 2
  const size_t tokens = target.size() / rows;
  for (size_t row = 0; row < rows; ++row) {
    const auto from = chosen.subspan(row * total_tokens + begin, tokens);
    const auto to = target.subspan(row * tokens, tokens);
    if (row % 2 == 0) {
      std::transform(from.begin(), from.end(), to.begin(), [](float x) { return std::exp2(x); });
    } else {
      std::copy(from.begin(), from.end(), to.begin());
    }
  }
}

void Observe(std::span<const float> chosen, const kernels::ContextPoolTiles& tiles,
             ContextPoolCounters& counters) {
  const size_t tokens = chosen.size() / (2 * counters.support_size.size());
  size_t begin = 0;
  for (Histogram& histogram : counters.support_size) {
    const auto log_weight = chosen.subspan(begin, tokens);
    const auto size = chosen.subspan(begin + tokens, tokens);
    begin += 2 * tokens;
    for (size_t i = 0; i < tokens; ++i) {
      const bool pooled = std::isfinite(log_weight[i]);
      if (pooled && std::isfinite(size[i])) histogram.Observe(size[i]);
    }
  }
  counters.computed_tiles += tiles.computed;
  counters.skipped_tiles += tiles.skipped;
  const int64_t all = tiles.computed + tiles.skipped;
  if (all > 0) {
    counters.skipped_tiles_ratio = static_cast<double>(tiles.skipped) / static_cast<double>(all);
  }
}

}  // namespace contextpool::engine
