#include "server/rpc/reply_threads.h"

#include <utility>

namespace contextpool::server {

ReplyThreads::ReplyThreads(int count) {
  for (int i = 0; i < count; ++i) threads_.emplace_back([this] { Loop(); });
}

ReplyThreads::~ReplyThreads() {
  {
    engine::MutexLock lock(mutex_);
    ending_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void ReplyThreads::Run(Work work) {
  {
    engine::MutexLock lock(mutex_);
    waiting_.push_back(std::move(work));
  }
  changed_.NotifyOne();
}

void ReplyThreads::Loop() {
  while (true) {
    Work work;
    {
      engine::MutexLock lock(mutex_);
      while (waiting_.empty() && !ending_) changed_.Wait(mutex_);
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work();
  }
}

}  // namespace contextpool::server
