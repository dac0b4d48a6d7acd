// Threads that turn the files of accepted requests into pixels, beside those that compute.
//
// The most urgent work goes first, input by input: interactive before bulk, inside a class the
// earliest deadline, then the earliest arrival. So an image is never held up by a large request
// that is less urgent for longer than one image takes. While both classes wait, every
// kInteractivePerBulk-th input is of the bulk, which cannot starve.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <set>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/base/request.h"

namespace contextpool::engine {

// The inputs of one request.
struct DecodeWork {
  Priority priority = Priority::kInteractive;
  TimePoint deadline = TimePoint::max();
  int32_t inputs = 0;
  // False once nobody waits any more: what is left is then not decoded. Must not block.
  absl::AnyInvocable<bool() const> wanted = [] { return true; };
  // Decodes one input; called at most once for each, by several threads at a time.
  absl::AnyInvocable<void(int32_t input)> decode;
  // Called once when all are decoded or not wanted. It may free what `decode` uses.
  absl::AnyInvocable<void()> done;
};

// Thread safe.
class DecodePool {
 public:
  static constexpr int kInteractivePerBulk = 8;

  explicit DecodePool(int threads);
  // Finishes what was added.
  ~DecodePool();

  // REQUIRES: work.inputs > 0. Never blocks.
  void Add(DecodeWork work);

  // Inputs that were decoded so far.
  uint64_t decoded() const { return decoded_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    DecodeWork work;
    int64_t arrival = 0;
    int32_t next = 0;
    int32_t finished = 0;
  };
  struct MoreUrgent {
    bool operator()(const Entry* a, const Entry* b) const;
  };
  using Waiting = std::set<Entry*, MoreUrgent>;

  void Loop();
  void End();
  // Null: nothing waits.
  Waiting* NextClass() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a thread takes at one time: an input to decode, or all that are not wanted any more.
  struct Share {
    Entry* entry = nullptr;
    int32_t input = 0;
    int32_t count = 0;
    bool wanted = true;
  };
  // A request leaves the queue with its last input. REQUIRES: one waits.
  Share Take(Waiting& waiting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  // By priority: requests with inputs that nobody has begun.
  std::array<Waiting, kPriorities> waiting_ ABSL_GUARDED_BY(mutex_);
  int interactive_in_a_row_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t arrivals_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<uint64_t> decoded_{0};
  std::vector<std::thread> threads_;
};

}  // namespace contextpool::engine
