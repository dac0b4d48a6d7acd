#include "clients/cli/bench/offered.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace contextpool::cli::bench {
namespace {

constexpr double kLeastSent = 0.99;
constexpr double kMostLate = 0.01;

}  // namespace

Nanoseconds LagTolerance(double rate_per_s) {
  const std::chrono::duration<double> tenth_of_gap(0.1 / rate_per_s);
  return std::max<Nanoseconds>(std::chrono::milliseconds(5),
                               std::chrono::duration_cast<Nanoseconds>(tenth_of_gap));
}

std::string WhyNotOffered(const OfferEvidence& evidence) {
  if (evidence.scheduled == 0) return "no call fell into the measured time: raise --duration";
  const auto scheduled = static_cast<double>(evidence.scheduled);
  if (static_cast<double>(evidence.sent) < kLeastSent * scheduled) {
    return absl::StrFormat("only %d of %d calls could be sent in time", evidence.sent,
                           evidence.scheduled);
  }
  if (evidence.rate_per_s &&
      static_cast<double>(evidence.late) > std::ceil(kMostLate * scheduled)) {
    return absl::StrFormat("%.1f%% of the calls were sent more than %s late, the worst %.1f ms",
                           100 * static_cast<double>(evidence.late) / scheduled,
                           FormatPeriod(LagTolerance(*evidence.rate_per_s)),
                           Milliseconds(evidence.worst_lag));
  }
  if (evidence.most_on_connection > kMostOnConnection) {
    return absl::StrFormat(
        "%d calls were in flight on one connection, and more than %d may wait inside this client: "
        "raise --connections",
        evidence.most_on_connection, kMostOnConnection);
  }
  if (evidence.collector_busy > kCollectorBusyLimit) {
    return absl::StrFormat("collecting the replies kept a core %.0f%% busy: this client is full",
                           100 * evidence.collector_busy);
  }
  return "";
}

}  // namespace contextpool::cli::bench
