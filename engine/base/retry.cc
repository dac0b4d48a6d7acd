#include "engine/base/retry.h"

#include <cstdint>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

constexpr char kRetryDelayUrl[] = "contextpool/retry-delay-ns";

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

}  // namespace contextpool::engine
