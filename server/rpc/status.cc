#include "server/rpc/status.h"

#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/retry.h"
#include "google/rpc/error_details.pb.h"

namespace contextpool::server {
namespace {

// Messages travel in HTTP/2 trailers, which peers limit to 8 KiB; details repeat the message.
constexpr size_t kLongestMessage = 2000;
constexpr size_t kLongestQuote = 80;

std::string NewErrorId() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return absl::StrFormat("%016x", generator());
}

// At most `size` bytes of UTF-8 text, without half a character at the end.
absl::string_view Cut(absl::string_view text, size_t size) {
  if (text.size() <= size) return text;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
  return text.substr(0, size);
}

}  // namespace

bool IsInternal(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown ||
         code == absl::StatusCode::kDataLoss;
}

std::string Quoted(absl::string_view text) {
  const absl::string_view cut = Cut(text, kLongestQuote);
  return absl::StrCat("\"", absl::Utf8SafeCEscape(cut), cut.size() < text.size() ? "..." : "",
                      "\"");
}

google::rpc::Status ToRpcStatus(const absl::Status& status, absl::string_view endpoint,
                                Logger& logger) {
  google::rpc::Status result;
  result.set_code(static_cast<int>(status.code()));
  result.set_message(std::string(Cut(status.message(), kLongestMessage)));
  if (IsInternal(status.code())) {
    const std::string id = NewErrorId();
    logger.Log(LogLevel::kError, "internal error",
               {{"id", id}, {"endpoint", endpoint}, {"error", status.message()}});
    result.set_code(static_cast<int>(absl::StatusCode::kInternal));
    result.set_message(
        absl::StrCat("internal error ", id, ": the server's log has the details under this id"));
    return result;
  }
  if (const auto delay = engine::RetryDelay(status)) {
    const int64_t nanoseconds =
        std::chrono::duration_cast<std::chrono::nanoseconds>(*delay).count();
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(nanoseconds / 1'000'000'000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanoseconds % 1'000'000'000));
    result.add_details()->PackFrom(retry);
  }
  return result;
}

grpc::Status ToGrpcStatus(const absl::Status& status, absl::string_view endpoint, Logger& logger) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status translated = ToRpcStatus(status, endpoint, logger);
  return grpc::Status(static_cast<grpc::StatusCode>(translated.code()), translated.message(),
                      translated.details().empty() ? "" : translated.SerializeAsString());
}

}  // namespace contextpool::server
