#include "clients/cli/bench/progress.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace contextpool::cli::bench {
namespace {

constexpr Nanoseconds kPlainPeriod = std::chrono::seconds(5);

}  // namespace

void ProgressLine::Begin(const std::string& prefix, const LoadPoint& point) {
  name_ = absl::StrCat(prefix, Describe(point));
  length_ = point.warmup + point.duration;
  next_ = kPlainPeriod;
  Show(absl::StrCat(name_, ", ", FormatPeriod(point.warmup), " warm-up and ",
                    FormatPeriod(point.duration)));
}

void ProgressLine::Update(const RunProgress& progress) {
  if (!is_tty_) {
    if (progress.elapsed < next_) return;
    next_ += kPlainPeriod;
  }
  const std::string phase =
      progress.elapsed > length_
          ? "waiting for the last answers"
          : absl::StrFormat("%.0f of %.0f s", Seconds(progress.elapsed), Seconds(length_));
  Show(absl::StrCat(name_, ": ", phase, ", ", progress.answered, " answered, ", progress.in_flight,
                    " in flight"));
}

void ProgressLine::Say(const std::string& line) {
  if (is_tty_) err_ << "\r\x1B[K";
  err_ << line << "\n" << std::flush;
}

void ProgressLine::Show(const std::string& line) {
  if (is_tty_) {
    err_ << "\r\x1B[K" << line << std::flush;
  } else {
    err_ << line << "\n" << std::flush;
  }
}

}  // namespace contextpool::cli::bench
