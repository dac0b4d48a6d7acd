#include "server/admission/admission.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "engine/base/retry.h"

namespace contextpool::server {
namespace {

// Long enough to let several batches pass, short enough to keep the device busy.
constexpr std::chrono::milliseconds kRetryDelay{100};

}  // namespace

void Admission::Ticket::Release() {
  if (admission_ == nullptr) return;
  Answered(0);
  admission_ = nullptr;
}

absl::Status Admission::Ticket::Add(int64_t bytes) {
  const int64_t share = bytes_ + bytes;
  const int64_t allowed = admission_->limits_.max_in_flight_bytes;
  if (share > allowed) {
    admission_->Count(Refusal::kInFlightBytes);
    return absl::InvalidArgumentError(absl::StrCat("the request and its reply would take ", share,
                                                   " bytes; --max_in_flight_bytes allows ", allowed,
                                                   ": split it into smaller requests"));
  }
  if (admission_->bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= allowed) {
    bytes_ = share;
    return absl::OkStatus();
  }
  admission_->bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  return admission_->Full(Refusal::kInFlightBytes);
}

void Admission::Ticket::Answered(int64_t reply_bytes) {
  if (admission_ == nullptr) return;
  admission_->requests_.fetch_sub(std::exchange(requests_, 0), std::memory_order_relaxed);
  admission_->bytes_.fetch_add(reply_bytes - std::exchange(bytes_, reply_bytes),
                               std::memory_order_relaxed);
}

absl::Status Admission::Full(Refusal reason) {
  Count(reason);
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("the server is answering as much as it may (--",
                   kRefusals[static_cast<size_t>(reason)].second, "); try again later"));
  engine::SetRetryDelay(status, kRetryDelay);
  return status;
}

absl::StatusOr<Admission::Ticket> Admission::Admit(int64_t message_bytes) {
  if (message_bytes > limits_.max_message_bytes) {
    Count(Refusal::kMessageBytes);
    return absl::InvalidArgumentError(
        absl::StrCat("the request has ", message_bytes, " bytes; --max_message_bytes allows ",
                     limits_.max_message_bytes, ": split it into smaller requests"));
  }
  // The ticket gives back what it took on every way out.
  const int64_t requests = requests_.fetch_add(1, std::memory_order_relaxed) + 1;
  const int64_t bytes = bytes_.fetch_add(message_bytes, std::memory_order_relaxed) + message_bytes;
  Ticket ticket(this, message_bytes);
  if (requests > limits_.max_in_flight_requests) return Full(Refusal::kInFlightRequests);
  if (bytes > limits_.max_in_flight_bytes) return Full(Refusal::kInFlightBytes);
  return ticket;
}

}  // namespace contextpool::server
