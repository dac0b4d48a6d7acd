#include "server/rpc/caller.h"

#include <chrono>
#include <optional>
#include <string>

namespace contextpool::server {
namespace {

constexpr char kPriorityKey[] = "contextpool-priority";

// gRPC's deadlines are of the wall clock, the engine's of the monotonic one.
std::optional<engine::TimePoint> Deadline(const grpc::CallbackServerContext& context,
                                          engine::TimePoint now) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  const auto left = deadline - std::chrono::system_clock::now();
  // Callers without a deadline may appear with one that is centuries away.
  if (left > std::chrono::hours(24 * 365)) return std::nullopt;
  return now + std::chrono::duration_cast<engine::Duration>(left);
}

CallInfo Info(const grpc::CallbackServerContext& context, int32_t max_inputs,
              engine::TimePoint now) {
  CallInfo info;
  info.max_inputs = max_inputs;
  info.deadline = Deadline(context, now);
  const auto& metadata = context.client_metadata();
  const auto priority = metadata.find(kPriorityKey);
  if (priority != metadata.end()) {
    info.priority = std::string(priority->second.data(), priority->second.size());
  }
  return info;
}

// A client whose deadline passes cancels its call, and may know of it before this side does: gRPC
// rounds timeouts up by as much as 1% on their way here.
engine::Duration EarliestNotice(engine::Duration timeout) {
  return timeout / 100 + std::chrono::milliseconds(10);
}

}  // namespace

Caller::Caller(const grpc::CallbackServerContext& context, int32_t max_inputs,
               const engine::Clock& clock)
    : clock_(clock), arrived_(clock.Now()), info_(Info(context, max_inputs, arrived_)) {}

void Caller::GiveUp() {
  // The engine itself drops work whose deadline has passed, and counts it as that.
  if (info_.deadline && clock_.Now() >= *info_.deadline) return;
  stop_.request_stop();
}

absl::Status Caller::CheckWanted() const {
  const bool gave_up = stop_.stop_requested();
  if (info_.deadline) {
    engine::TimePoint passed = *info_.deadline;
    if (gave_up) passed -= EarliestNotice(passed - arrived_);
    if (clock_.Now() >= passed) {
      return absl::DeadlineExceededError("the deadline passed before the answer was ready");
    }
  }
  return gave_up ? absl::CancelledError("the caller gave up") : absl::OkStatus();
}

}  // namespace contextpool::server
