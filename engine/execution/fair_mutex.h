// A mutex that is given in the order of asking.
#pragma once

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "engine/base/mutex.h"

namespace contextpool::engine {

// Who asks waits for those that asked before, and for nobody else. With Mutex a thread that
// releases and asks again at once usually comes before those that have to be woken first.
//
// Each release wakes everybody who waits: for few threads that hold it long.
class ABSL_LOCKABLE FairMutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    MutexLock lock(mutex_);
    const uint64_t place = asked_++;
    while (place != released_) changed_.Wait(mutex_);
  }

  void Unlock() ABSL_UNLOCK_FUNCTION() {
    MutexLock lock(mutex_);
    ++released_;
    changed_.NotifyAll();
  }

  // Threads that hold it or wait for it.
  uint64_t users() const {
    MutexLock lock(mutex_);
    return asked_ - released_;
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  uint64_t asked_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t released_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace contextpool::engine
