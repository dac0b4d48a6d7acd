#include "clients/cli/bench/load_point.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace contextpool::cli::bench {

std::string Describe(const LoadPoint& point) {
  return point.rate_per_s ? absl::StrFormat("%.10g calls/s", *point.rate_per_s)
                          : absl::StrCat(point.concurrency, " in flight");
}

void Tally::Merge(const Tally& other) {
  calls += other.calls;
  for (const auto& [code, count] : other.codes) codes[code] += count;
  good_calls += other.good_calls;
  partial_calls += other.partial_calls;
  failed_inputs += other.failed_inputs;
  tokens += other.tokens;
  inputs += other.inputs;
  ok.Merge(other.ok);
  not_ok.Merge(other.not_ok);
  server_queue += other.server_queue;
  server_compute += other.server_compute;
  server_total += other.server_total;
  in_window.ok_calls += other.in_window.ok_calls;
  in_window.good_calls += other.in_window.good_calls;
  in_window.inputs += other.in_window.inputs;
  in_window.tokens += other.in_window.tokens;
}

std::optional<Nanoseconds> OfferedPercentile(const Tally& tally, double share) {
  if (tally.calls == 0) return std::nullopt;
  const uint64_t rank = tally.partial_calls + RankOf(share, tally.calls);
  if (rank > tally.ok.count()) return std::nullopt;
  return tally.ok.AtRank(rank);
}

Tally PointResult::Total() const {
  Tally total;
  for (const Tally& tally : kinds) total.Merge(tally);
  return total;
}

}  // namespace contextpool::cli::bench
