// Threads that encode replies, so that the ones that compute go on computing.
#pragma once

#include <deque>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "engine/base/mutex.h"

namespace contextpool::server {

// Thread safe. What waits here is not bounded: whoever gives work holds a ticket of Admission.
class ReplyThreads {
 public:
  using Work = absl::AnyInvocable<void()>;

  explicit ReplyThreads(int count);
  // Finishes the work that was given.
  ~ReplyThreads();

  // Runs `work` on one of the threads, soon and in no promised order. Costs the caller about a
  // microsecond.
  void Run(Work work);

 private:
  void Loop();

  engine::Mutex mutex_;
  engine::CondVar changed_;
  std::deque<Work> waiting_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace contextpool::server
