// The end of service as calls see it: when it begins, and which of them it still waits for.
#pragma once

#include <cstdint>
#include <stop_token>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"

namespace contextpool::server {

// Thread safe. Must outlive the calls.
class Draining {
 public:
  // Held by a call from its arrival until gRPC has sent its last reply.
  class OpenCall {
   public:
    explicit OpenCall(Draining& draining) : draining_(draining), counted_(draining.Enter()) {}
    ~OpenCall() {
      if (counted_) draining_.Leave();
    }
    OpenCall(const OpenCall&) = delete;
    OpenCall& operator=(const OpenCall&) = delete;

   private:
    Draining& draining_;
    const bool counted_;
  };

  // Work that comes from now on is refused. Whoever waits on the token is told in this thread.
  void Begin();
  bool begun() const { return begin_.stop_requested(); }
  std::stop_token token() const { return begin_.get_token(); }

  // Blocks until the calls that were open when draining began have ended, or until `deadline`:
  // false. REQUIRES: it began.
  bool WaitForOpenCalls(engine::TimePoint deadline);

 private:
  // False: too late to be waited for.
  bool Enter();
  void Leave();

  std::stop_source begin_;
  engine::Mutex mutex_;
  engine::CondVar changed_;
  int64_t open_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace contextpool::server
