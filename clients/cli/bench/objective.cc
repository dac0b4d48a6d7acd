#include "clients/cli/bench/objective.h"

#include "absl/strings/str_cat.h"
#include "clients/cli/bench/histogram.h"
#include "clients/cli/bench/offered.h"

namespace contextpool::cli::bench {

std::string Describe(const Objective& objective) {
  return absl::StrCat("p99 <= ", FormatPeriod(objective.p99), " with at most ",
                      100 * objective.max_errors, "% not OK");
}

ObjectiveWatch::ObjectiveWatch(const Objective& objective, double rate_per_s, uint64_t scheduled)
    : objective_(objective), lag_tolerance_(LagTolerance(rate_per_s)), scheduled_(scheduled) {}

void ObjectiveWatch::Count(const EndedCall& call) {
  if (!IsFair(call)) return;
  const bool error = !call.status.ok() || call.reply.failed_inputs > 0;
  errors_ += error;
  missed_ += error || call.ended - call.due > objective_.p99;
}

bool ObjectiveWatch::IsOverdue(const SentCall& call, Time now) const {
  return IsFair(call) && now - call.due > objective_.p99;
}

bool ObjectiveWatch::IsFair(const SentCall& call) const {
  return call.sent - call.due <= lag_tolerance_ && call.on_connection <= kMostOnConnection;
}

std::string ObjectiveWatch::WhyLost(uint64_t overdue) const {
  const uint64_t missed = missed_ + overdue;
  const auto lost = [&](uint64_t count, absl::string_view what) {
    return absl::StrCat("given up: by then ", count, " of ", scheduled_, " calls ", what);
  };
  if (static_cast<double>(errors_) > objective_.max_errors * static_cast<double>(scheduled_)) {
    return lost(errors_, "were not OK or not whole");
  }
  if (missed > scheduled_ - RankOf(0.99, scheduled_)) {
    return lost(missed, absl::StrCat("had missed ", FormatPeriod(objective_.p99)));
  }
  return "";
}

}  // namespace contextpool::cli::bench
