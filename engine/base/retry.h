// A refused call says when it is worth trying again: a delay carried inside absl::Status.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/base/clock.h"

namespace contextpool::engine {

void SetRetryDelay(absl::Status& status, Duration delay);
std::optional<Duration> RetryDelay(const absl::Status& status);

// RESOURCE_EXHAUSTED because the answer would come after the deadline, not for lack of room.
absl::Status TooLate(absl::string_view message);
bool IsTooLate(const absl::Status& status);

}  // namespace contextpool::engine
