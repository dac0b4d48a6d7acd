#include "clients/cli/bench/load_options.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

namespace contextpool::cli::bench {
namespace {

constexpr uint32_t kMostConcurrent = 100000;
constexpr uint32_t kMostWords = 100000;

absl::Status Expected(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("takes ", what));
}

bool ParseNumber(absl::string_view text, double& number) {
  return absl::SimpleAtod(text, &number) && std::isfinite(number);
}

bool ParseWords(absl::string_view text, uint32_t& words) {
  return absl::SimpleAtoi(text, &words) && words > 0 && words <= kMostWords;
}

// One part of --deadline.
bool ParseDeadlineShare(absl::string_view part, DeadlineShare& result) {
  const std::vector<std::string> fields = absl::StrSplit(part, ':');
  if (fields.size() > 2) return false;
  if (fields[0] != "none") {
    Nanoseconds deadline{};
    if (!ParsePeriod(fields[0], false, deadline).ok()) return false;
    result.deadline = deadline;
  }
  return fields.size() == 1 || ParseShare(fields[1], result.share).ok();
}

bool ParseLognormal(absl::string_view value, TextLengths& lengths) {
  const std::vector<absl::string_view> fields = absl::StrSplit(value, ',');
  lengths = {.shape = TextLengths::Shape::kLognormal, .min = 1, .max = kMostWords};
  return (fields.size() == 2 || fields.size() == 3) && ParseNumber(fields[0], lengths.mean) &&
         lengths.mean >= 1 && lengths.mean <= kMostWords &&
         ParseNumber(fields[1], lengths.deviation) && lengths.deviation > 0 &&
         lengths.deviation <= kMostWords &&
         (fields.size() == 2 || ParseWords(fields[2], lengths.max));
}

bool ParseUniform(absl::string_view value, TextLengths& lengths) {
  const std::vector<absl::string_view> fields = absl::StrSplit(value, '-');
  return fields.size() == 2 && ParseWords(fields[0], lengths.min) &&
         ParseWords(fields[1], lengths.max) && lengths.min <= lengths.max;
}

}  // namespace

absl::Status ParsePeriod(const std::string& value, bool zero_allowed, Nanoseconds& period) {
  absl::Duration duration;
  const bool fits = absl::ParseDuration(value, &duration) && duration >= absl::ZeroDuration() &&
                    duration <= absl::Hours(24);
  period = fits ? absl::ToChronoNanoseconds(duration) : Nanoseconds(0);
  if (fits && (zero_allowed || period.count() > 0)) return absl::OkStatus();
  return Expected(absl::StrCat("a period with its unit, such as 50ms, 2s or 1m30s: ",
                               zero_allowed ? "" : "more than 0, ", "at most 24h"));
}

absl::Status ParseShare(const std::string& value, double& share) {
  return ParseNumber(value, share) && share >= 0 && share <= 1 ? absl::OkStatus()
                                                               : Expected("a share from 0 to 1");
}

absl::Status ParseRates(const std::string& value, std::vector<double>& rates) {
  rates.clear();
  for (const absl::string_view part : absl::StrSplit(value, ',')) {
    if (!ParseNumber(part, rates.emplace_back()) || rates.back() <= 0 ||
        rates.back() > kHighestRate) {
      return Expected(
          "calls per second, one number or several as in 100,200,400: more than 0, at most "
          "1000000");
    }
  }
  return absl::OkStatus();
}

absl::Status ParseConcurrency(const std::string& value, std::vector<uint32_t>& concurrency) {
  concurrency.clear();
  for (const absl::string_view part : absl::StrSplit(value, ',')) {
    if (!absl::SimpleAtoi(part, &concurrency.emplace_back()) || concurrency.back() == 0 ||
        concurrency.back() > kMostConcurrent) {
      return Expected(
          "calls in flight, one whole number or several as in 1,2,4,8: from 1 to 100000");
    }
  }
  return absl::OkStatus();
}

absl::Status ParseDeadlines(const std::string& value, std::vector<DeadlineShare>& deadlines) {
  deadlines.clear();
  double sum = 0;
  bool valid = true;
  for (const absl::string_view part : absl::StrSplit(value, ',')) {
    valid = valid && ParseDeadlineShare(part, deadlines.emplace_back());
    sum += deadlines.back().share;
  }
  if (valid && std::abs(sum - 1) < 1e-3) return absl::OkStatus();
  return Expected(
      "a period such as 50ms, or several with shares that add up to 1, such as "
      "50ms:0.5,500ms:0.3,none:0.2");
}

absl::Status ParseLengths(const std::string& value, TextLengths& lengths) {
  absl::string_view rest = value;
  lengths = {};
  bool valid = false;
  if (absl::ConsumePrefix(&rest, "fixed:")) {
    lengths.shape = TextLengths::Shape::kFixed;
    valid = ParseWords(rest, lengths.min);
    lengths.max = lengths.min;
  } else if (absl::ConsumePrefix(&rest, "uniform:")) {
    valid = ParseUniform(rest, lengths);
  } else if (absl::ConsumePrefix(&rest, "lognormal:")) {
    valid = ParseLognormal(rest, lengths);
  }
  if (valid) return absl::OkStatus();
  return Expected(
      "words per text: fixed:N, uniform:MIN-MAX or lognormal:MEAN,DEVIATION[,MAX], from 1 to "
      "100000");
}

absl::Status CheckLoad(const LoadOptions& options, size_t files) {
  const int loads =
      int{!options.concurrency.empty()} + int{!options.rates.empty()} + int{options.find_rate};
  const char* problem = nullptr;
  if (loads == 0) {
    problem = "no load: give --concurrency N (closed loop), --rate R (open loop) or --find-rate";
  } else if (loads > 1) {
    problem = "--concurrency, --rate and --find-rate exclude each other: give one of them";
  } else if (options.arrivals && !options.concurrency.empty()) {
    problem = "--arrivals shapes an open loop: give --rate or --find-rate, not --concurrency";
  } else if (options.find_rate && !options.p99) {
    problem = "--find-rate needs the objective: add --p99, such as --p99 20ms";
  } else if (!options.find_rate && (options.p99 || options.max_errors)) {
    problem = "--p99 and --max-errors are the objective of --find-rate: add it";
  } else if (files > 1) {
    problem = "bench takes the texts of one file: join the files with cat, and pass '-'";
  } else if (files == 1 && options.lengths) {
    problem = "--lengths makes texts up: leave it out, or leave out the file";
  } else if (files == 0 && options.shuffle) {
    problem = "--shuffle mixes the texts of a file, and there is none";
  }
  return problem == nullptr ? absl::OkStatus() : absl::InvalidArgumentError(problem);
}

std::string FormatPeriod(Nanoseconds period) {
  return absl::FormatDuration(absl::FromChrono(period));
}

std::string FormatLengths(const TextLengths& lengths) {
  switch (lengths.shape) {
    case TextLengths::Shape::kFixed:
      return absl::StrCat("fixed:", lengths.min);
    case TextLengths::Shape::kUniform:
      return absl::StrCat("uniform:", lengths.min, "-", lengths.max);
    case TextLengths::Shape::kLognormal:
      break;
  }
  return absl::StrCat("lognormal:", lengths.mean, ",", lengths.deviation, ",", lengths.max);
}

}  // namespace contextpool::cli::bench
