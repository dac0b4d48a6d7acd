#include "clients/cli/inputs.h"

namespace contextpool::cli {

std::vector<Chunk> PlanRequests(const InputList& inputs) {
  const RequestLimits limits = inputs.limits();
  std::vector<Chunk> chunks;
  size_t bytes = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const size_t more = inputs.bytes(i);
    const bool joins = !chunks.empty() && chunks.back().count < limits.max_inputs &&
                       bytes <= limits.max_bytes && more <= limits.max_bytes - bytes;
    if (joins) {
      ++chunks.back().count;
      bytes += more;
    } else {
      chunks.push_back({.first = i, .count = 1});
      bytes = more;
    }
  }
  return chunks;
}

}  // namespace contextpool::cli
