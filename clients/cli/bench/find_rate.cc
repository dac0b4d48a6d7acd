#include "clients/cli/bench/find_rate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace contextpool::cli::bench {
namespace {

constexpr double kPrecision = 1.05;
// Halvings before a search gives up.
constexpr int kMostHalvings = 10;
// A busy machine may wake the sender too late once.
constexpr int kMostAttempts = 3;

// To three digits, which is finer than the search.
double Round(double rate_per_s) {
  const double unit = std::pow(10, std::floor(std::log10(rate_per_s)) - 2);
  return std::round(rate_per_s / unit) * unit;
}

class Search {
 public:
  explicit Search(const std::function<ProbeOutcome(double)>& probe) : probe_(probe) {}

  FoundRate Run(double start_per_s) {
    Grow(start_per_s);
    Shrink(start_per_s);
    while (found_.held_per_s && found_.failed_per_s && !found_.interrupted &&
           *found_.failed_per_s > kPrecision * *found_.held_per_s) {
      Try(std::sqrt(*found_.held_per_s * *found_.failed_per_s));
    }
    return found_;
  }

 private:
  void Try(double exact_per_s) {
    const double rate_per_s = Round(exact_per_s);
    ProbeOutcome outcome = probe_(rate_per_s);
    for (int i = 1; i < kMostAttempts && outcome == ProbeOutcome::kNotOffered; ++i) {
      outcome = probe_(rate_per_s);
    }
    if (outcome == ProbeOutcome::kInterrupted) {
      found_.interrupted = true;
    } else if (outcome == ProbeOutcome::kHolds) {
      found_.held_per_s = rate_per_s;
    } else {
      found_.failed_per_s = rate_per_s;
      found_.client_limited = outcome == ProbeOutcome::kNotOffered;
    }
  }

  // Until a rate fails, or there is none higher.
  void Grow(double rate_per_s) {
    while (!found_.failed_per_s && !found_.interrupted && rate_per_s <= kHighestRate) {
      Try(rate_per_s);
      rate_per_s *= 2;
    }
  }

  // Until a rate holds.
  void Shrink(double rate_per_s) {
    for (int i = 0; i < kMostHalvings && !found_.held_per_s && !found_.interrupted; ++i) {
      rate_per_s /= 2;
      if (rate_per_s < kLowestRate) return;
      Try(rate_per_s);
    }
  }

  const std::function<ProbeOutcome(double)>& probe_;
  FoundRate found_;
};

}  // namespace

FoundRate FindRate(double start_per_s,
                   const std::function<ProbeOutcome(double rate_per_s)>& probe) {
  return Search(probe).Run(start_per_s);
}

ProbeOutcome Judge(const PointResult& result, const Objective& objective) {
  if (result.interrupted) return ProbeOutcome::kInterrupted;
  if (!result.not_offered.empty()) return ProbeOutcome::kNotOffered;
  if (!result.lost.empty()) return ProbeOutcome::kFails;
  const Tally total = result.Total();
  const auto p99 = OfferedPercentile(total, 0.99);
  const double errors = static_cast<double>(total.not_ok_calls() + total.partial_calls) /
                        static_cast<double>(total.calls);
  return p99 && *p99 <= objective.p99 && errors <= objective.max_errors ? ProbeOutcome::kHolds
                                                                        : ProbeOutcome::kFails;
}

std::string WhyHopeless(const PointResult& alone, const Objective& objective) {
  if (alone.interrupted) return "";
  const auto p50 = OfferedPercentile(alone.Total(), 0.5);
  if (p50 && *p50 <= objective.p99) return "";
  const std::string calls = "of the calls of one caller who waited for each answer, ";
  return p50 ? absl::StrFormat("%shalf took %.3g ms or more", calls, Milliseconds(*p50))
             : absl::StrCat(calls, "hardly one was OK in that time");
}

Nanoseconds ProbeDuration(Nanoseconds duration, double rate_per_s) {
  const std::chrono::duration<double> least(kLeastProbeCalls / rate_per_s);
  return std::max(duration,
                  std::min(kLongestProbe, std::chrono::duration_cast<Nanoseconds>(least)));
}

}  // namespace contextpool::cli::bench
