// How much may be answered at one time: requests, and the bytes that they and their replies take.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace contextpool::server {

struct AdmissionLimits {
  int64_t max_message_bytes = 64 << 20;
  int64_t max_in_flight_requests = 8192;
  int64_t max_in_flight_bytes = 512 << 20;
};

// Why a request was refused, as the label `reason` of contextpool_rejected_total.
enum class Refusal : uint8_t { kMessageBytes, kInFlightRequests, kInFlightBytes };
inline constexpr std::array<std::pair<Refusal, const char*>, 3> kRefusals = {{
    {Refusal::kMessageBytes, "max_message_bytes"},
    {Refusal::kInFlightRequests, "max_in_flight_requests"},
    {Refusal::kInFlightBytes, "max_in_flight_bytes"},
}};

// Thread safe, lock free. Must outlive its tickets.
class Admission {
 public:
  // The right to be answered; gives its share back when it ends. Used by one thread at a time.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept
        : admission_(std::exchange(other.admission_, nullptr)),
          requests_(other.requests_),
          bytes_(other.bytes_) {}
    Ticket& operator=(Ticket&& other) noexcept {
      Release();
      admission_ = std::exchange(other.admission_, nullptr);
      requests_ = other.requests_;
      bytes_ = other.bytes_;
      return *this;
    }
    ~Ticket() { Release(); }

    // Takes `bytes` more, for a reply. RESOURCE_EXHAUSTED with a retry delay: too much is being
    // answered now. INVALID_ARGUMENT: it could never be, even alone. The share is then as it was.
    // REQUIRES: the ticket holds a share.
    absl::Status Add(int64_t bytes);

    // The request is answered: its share becomes the bytes of the reply, even where they are more
    // than there is room for: they are in memory already, and nothing is admitted until they are
    // gone. Of a ticket without a share nothing changes.
    void Answered(int64_t reply_bytes);

    // Gives the share back.
    void Release();

   private:
    friend class Admission;
    Ticket(Admission* admission, int64_t bytes) : admission_(admission), bytes_(bytes) {}

    Admission* admission_ = nullptr;
    int64_t requests_ = 1;
    int64_t bytes_ = 0;
  };

  explicit Admission(const AdmissionLimits& limits) : limits_(limits) {}

  // INVALID_ARGUMENT: the message alone is too large, which no retry changes. RESOURCE_EXHAUSTED
  // with a retry delay: too much is being answered now.
  absl::StatusOr<Ticket> Admit(int64_t message_bytes);

  const AdmissionLimits& limits() const { return limits_; }
  int64_t requests() const { return requests_.load(std::memory_order_relaxed); }
  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

  // Requests refused so far.
  uint64_t refused(Refusal reason) const {
    return refused_[static_cast<size_t>(reason)].load(std::memory_order_relaxed);
  }

 private:
  void Count(Refusal reason) {
    refused_[static_cast<size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
  }
  absl::Status Full(Refusal reason);

  const AdmissionLimits limits_;
  std::atomic<int64_t> requests_{0};
  std::atomic<int64_t> bytes_{0};
  std::array<std::atomic<uint64_t>, kRefusals.size()> refused_{};
};

}  // namespace contextpool::server
