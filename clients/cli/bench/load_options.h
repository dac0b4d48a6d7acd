// What `contextpool bench` measures, and how its flags' values are read.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace contextpool::cli::bench {

using Nanoseconds = std::chrono::nanoseconds;

enum class LoadTask : uint8_t { kEmbed, kClassify };

// How the calls of an open loop follow each other.
enum class ArrivalShape : uint8_t { kPoisson, kConstant };

// Lengths of made-up texts, in words.
struct TextLengths {
  enum class Shape : uint8_t { kFixed, kUniform, kLognormal };
  Shape shape = Shape::kUniform;
  // Every length is in [min, max].
  uint32_t min = 5;
  uint32_t max = 60;
  // kLognormal only: of the lengths themselves, before they are held to [min, max].
  double mean = 0;
  double deviation = 0;
};

// A share of the calls and their deadline, counted from the moment when a call is due.
struct DeadlineShare {
  std::optional<Nanoseconds> deadline;
  double share = 1;
};

struct LoadOptions {
  // The work.
  LoadTask task = LoadTask::kEmbed;
  // Unset: kDefaultLengths, unless texts come from a file.
  std::optional<TextLengths> lengths;
  bool shuffle = false;
  uint32_t batch = 1;
  uint64_t seed = 1;

  // The load: one of the three.
  std::vector<uint32_t> concurrency;
  std::vector<double> rates;
  bool find_rate = false;

  std::optional<ArrivalShape> arrivals;
  uint32_t connections = 1;
  Nanoseconds warmup = std::chrono::seconds(1);
  Nanoseconds duration = std::chrono::seconds(10);
  // Shares add up to 1. Empty: no call has a deadline.
  std::vector<DeadlineShare> deadlines;
  // Share of the calls that are sent as PRIORITY_BULK.
  double bulk_share = 0;

  // The objective of find_rate.
  std::optional<Nanoseconds> p99;
  std::optional<double> max_errors;

  std::string json_file;
  std::string plot_file;
};

constexpr TextLengths kDefaultLengths{};
constexpr double kDefaultMaxErrors = 0.001;
// Calls per second. More would need a schedule of gigabytes.
constexpr double kHighestRate = 1e6;

// Each reads a flag's value. An error says what would be right: "takes ...".
absl::Status ParsePeriod(const std::string& value, bool zero_allowed, Nanoseconds& period);
absl::Status ParseShare(const std::string& value, double& share);
// "100" or "100,200,400".
absl::Status ParseRates(const std::string& value, std::vector<double>& rates);
absl::Status ParseConcurrency(const std::string& value, std::vector<uint32_t>& concurrency);
// "50ms" or "50ms:0.5,none:0.5".
absl::Status ParseDeadlines(const std::string& value, std::vector<DeadlineShare>& deadlines);
// "fixed:32", "uniform:5-60", "lognormal:30,20" or "lognormal:30,20,200".
absl::Status ParseLengths(const std::string& value, TextLengths& lengths);

// Combinations that each flag alone cannot judge. `files`: texts' files on the command line.
absl::Status CheckLoad(const LoadOptions& options, size_t files);

inline double Milliseconds(Nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}
inline double Seconds(Nanoseconds time) { return std::chrono::duration<double>(time).count(); }
// "50ms", "1.5s".
std::string FormatPeriod(Nanoseconds period);
// As --lengths takes it.
std::string FormatLengths(const TextLengths& lengths);

}  // namespace contextpool::cli::bench
