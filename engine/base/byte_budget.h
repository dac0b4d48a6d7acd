// Memory that many requests share, counted rather than allocated.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace contextpool::engine {

// Bytes in use. Thread safe, lock free; must outlive its shares.
class ByteBudget {
 public:
  // Bytes that one holder uses; given back when it ends.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}
    Share& operator=(Share&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() {
      if (budget_ != nullptr) budget_->used_.fetch_sub(bytes_, std::memory_order_relaxed);
    }

    // False: there was no room.
    explicit operator bool() const { return budget_ != nullptr; }

   private:
    friend class ByteBudget;
    Share(ByteBudget* budget, int64_t bytes) : budget_(budget), bytes_(bytes) {}

    ByteBudget* budget_ = nullptr;
    int64_t bytes_ = 0;
  };

  // Takes `bytes`, or nothing if more than `bound` would then be in use.
  Share Take(int64_t bytes, int64_t bound) {
    Share share(this, bytes);
    const int64_t used = used_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    return used <= bound ? std::move(share) : Share();
  }

  int64_t used() const { return used_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> used_{0};
};

}  // namespace contextpool::engine
