#include "server/rpc/draining.h"

namespace contextpool::server {

bool Draining::Enter() {
  engine::MutexLock lock(mutex_);
  if (begun()) return false;
  ++open_;
  return true;
}

void Draining::Leave() {
  engine::MutexLock lock(mutex_);
  if (--open_ == 0) changed_.NotifyAll();
}

void Draining::Begin() { begin_.request_stop(); }

bool Draining::WaitForOpenCalls(engine::TimePoint deadline) {
  engine::MutexLock lock(mutex_);
  while (open_ > 0 && engine::Clock::Real().Now() < deadline) {
    changed_.WaitUntil(mutex_, deadline);
  }
  return open_ == 0;
}

}  // namespace contextpool::server
