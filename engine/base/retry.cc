#include "engine/base/retry.h"

#include <cstdint>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

constexpr char kRetryDelayUrl[] = "contextpool/retry-delay-ns";
constexpr char kTooLateUrl[] = "contextpool/too-late";

}  // namespace

void SetRetryDelay(absl::Status& status, Duration delay) {
  const int64_t nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(delay).count();
  status.SetPayload(kRetryDelayUrl, absl::Cord(absl::StrCat(nanoseconds)));
}

std::optional<Duration> RetryDelay(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryDelayUrl);
  int64_t nanoseconds = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &nanoseconds)) return std::nullopt;
  return std::chrono::nanoseconds(nanoseconds);
}

absl::Status TooLate(absl::string_view message) {
  absl::Status status = absl::ResourceExhaustedError(message);
  status.SetPayload(kTooLateUrl, absl::Cord());
  return status;
}

bool IsTooLate(const absl::Status& status) { return status.GetPayload(kTooLateUrl).has_value(); }

}  // namespace contextpool::engine
