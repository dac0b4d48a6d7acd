// What can be judged before a request is decoded: how much is being answered already.
#pragma once

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

// Thread safe, lock free. Must outlive its tickets.
class Admission {
 public:
  // The right to be answered; gives its share back when it ends.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept
        : admission_(std::exchange(other.admission_, nullptr)), bytes_(other.bytes_) {}
    Ticket& operator=(Ticket&& other) noexcept {
      Release();
      admission_ = std::exchange(other.admission_, nullptr);
      bytes_ = other.bytes_;
      return *this;
    }
    ~Ticket() { Release(); }

   private:
    friend class Admission;
    Ticket(Admission* admission, int64_t bytes) : admission_(admission), bytes_(bytes) {}
    void Release();

    Admission* admission_ = nullptr;
    int64_t bytes_ = 0;
  };

  explicit Admission(const AdmissionLimits& limits) : limits_(limits) {}

  // INVALID_ARGUMENT: the message alone is too large, which no retry changes. RESOURCE_EXHAUSTED
  // with a retry delay: too much is being answered now.
  absl::StatusOr<Ticket> Admit(int64_t message_bytes);

  int64_t requests() const { return requests_.load(std::memory_order_relaxed); }
  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  const AdmissionLimits limits_;
  std::atomic<int64_t> requests_{0};
  std::atomic<int64_t> bytes_{0};
};

}  // namespace contextpool::server
