#include "clients/cli/bench/call_kinds.h"

namespace contextpool::cli::bench {

std::vector<CallKind> CallKinds(const LoadOptions& options) {
  std::vector<DeadlineShare> deadlines = options.deadlines;
  if (deadlines.empty()) deadlines.emplace_back();
  double sum = 0;
  for (const DeadlineShare& deadline : deadlines) sum += deadline.share;
  std::vector<CallKind> kinds;
  for (const bool bulk : {false, true}) {
    const double class_share = bulk ? options.bulk_share : 1 - options.bulk_share;
    for (const auto& [deadline, share] : deadlines) {
      if (class_share * share > 0) kinds.push_back({bulk, deadline, class_share * share / sum});
    }
  }
  return kinds;
}

size_t DrawKind(std::span<const CallKind> kinds, Random& random) {
  double left = Uniform01(random);
  for (size_t i = 0; i + 1 < kinds.size(); ++i) {
    left -= kinds[i].share;
    if (left < 0) return i;
  }
  return kinds.size() - 1;
}

}  // namespace contextpool::cli::bench
