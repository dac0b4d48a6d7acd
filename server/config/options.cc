#include "server/config/options.h"

#include <chrono>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/config/device_names.h"

namespace contextpool::server {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr std::chrono::milliseconds kDay = std::chrono::hours(24);

struct Range {
  absl::string_view flag;
  int64_t value;
  int64_t low;
  int64_t high;
  absl::string_view unit;
};

absl::Status CheckRange(const Range& range) {
  if (range.value >= range.low && range.value <= range.high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--", range.flag, "=", range.value,
                                                 ": allowed is ", range.low, " to ", range.high,
                                                 range.unit.empty() ? "" : " ", range.unit));
}

struct DurationRange {
  absl::string_view flag;
  std::chrono::milliseconds value;
  std::chrono::milliseconds high;  // from 0
  absl::string_view zero;          // what 0 stands for, if not for no time
};

std::string Text(std::chrono::milliseconds duration) {
  return absl::FormatDuration(absl::Milliseconds(duration.count()));
}

absl::Status CheckDuration(const DurationRange& range) {
  if (range.value.count() >= 0 && range.value <= range.high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", range.flag, "=", Text(range.value), ": allowed is 0 to ", Text(range.high),
                   range.zero.empty() ? "" : absl::StrCat(" (0: ", range.zero, ")")));
}

absl::Status CheckDurations(const Options& options) {
  const DurationRange ranges[] = {
      {"repository_poll_interval", options.repository_poll_interval, kDay, "never"},
      {"drain_grace", options.drain_grace, kDay, ""},
      {"drain_timeout", options.drain_timeout, kDay, ""},
      {"canary_interval", options.canary_interval, kDay, "never"},
      {"unhealthy_exit", options.unhealthy_exit, kDay, "never"},
      {"max_connection_age", options.max_connection_age, 365 * kDay, "no limit"},
      {"max_connection_age_grace", options.max_connection_age_grace, kDay, ""},
  };
  for (const DurationRange& range : ranges) {
    if (absl::Status status = CheckDuration(range); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateOptions(const Options& options) {
  const Range ranges[] = {
      {"threads", options.threads, 0, 1024, "threads (0: all that the process may use)"},
      {"decode_threads", options.decode_threads, 0, 1024,
       "threads (0: half of those that the process may use)"},
      {"grpc_port", options.grpc_port, 0, 65535, ""},
      {"metrics_port", options.metrics_port, 0, 65535, ""},
      {"max_message_bytes", options.max_message_bytes, 1024, 1024 * kMiB, "bytes"},
      {"max_inputs", options.max_inputs, 1, 1 << 20, "inputs"},
      {"max_image_bytes", options.image.max_bytes, 1024, 1024 * kMiB, "bytes"},
      {"max_image_pixels", options.image.max_pixels, 1, int64_t{1} << 30, "pixels"},
      {"max_in_flight_requests", options.max_in_flight_requests, 1, 1 << 24, "requests"},
      {"max_in_flight_bytes", options.max_in_flight_bytes, options.max_message_bytes,
       std::numeric_limits<int64_t>::max(), "bytes (at least --max_message_bytes)"},
      {"max_queue_inputs", options.queue.max_inputs, 1, 1 << 24, "inputs"},
      {"max_queue_tokens", options.queue.max_tokens, 1, int64_t{1} << 40, "tokens"},
      {"max_queue_bytes", options.queue.max_bytes, 1024, int64_t{1} << 40, "bytes"},
      {"grpc_memory_mib", options.grpc_memory_mib, 0, 1 << 20, "MiB (0: no limit)"},
      {"max_concurrent_streams", options.max_concurrent_streams, 1, 1 << 20, "streams"},
  };
  for (const Range& range : ranges) {
    if (absl::Status status = CheckRange(range); !status.ok()) return status;
  }
  if (absl::Status status = CheckDurations(options); !status.ok()) return status;
  if (absl::Status status = CheckDevices(options.devices); !status.ok()) return status;
  if (options.bind_address.empty()) {
    return absl::InvalidArgumentError(
        "--bind_address is empty: give an address, such as 127.0.0.1 or 0.0.0.0");
  }
  if (options.grpc_port != 0 && options.grpc_port == options.metrics_port) {
    return absl::InvalidArgumentError(absl::StrCat("--grpc_port and --metrics_port are both ",
                                                   options.grpc_port,
                                                   ": give them different ports"));
  }
  return absl::OkStatus();
}

}  // namespace contextpool::server
