#include "engine/decode_pool.h"

#include <memory>
#include <tuple>
#include <utility>

#include "absl/cleanup/cleanup.h"

namespace contextpool::engine {

bool DecodePool::MoreUrgent::operator()(const Entry* a, const Entry* b) const {
  return std::tie(a->work.deadline, a->arrival) < std::tie(b->work.deadline, b->arrival);
}

DecodePool::DecodePool(int threads) {
  // Where a thread cannot be had, those that could must end.
  absl::Cleanup end = [this] { End(); };
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
  std::move(end).Cancel();
}

DecodePool::~DecodePool() { End(); }

void DecodePool::End() {
  {
    MutexLock lock(mutex_);
    ending_ = true;
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void DecodePool::Add(DecodeWork work) {
  auto entry = std::make_unique<Entry>(Entry{.work = std::move(work)});
  MutexLock lock(mutex_);
  entry->arrival = arrivals_++;
  waiting_[static_cast<size_t>(entry->work.priority)].insert(entry.get());
  // Several threads may share its inputs.
  entry.release()->work.inputs > 1 ? changed_.NotifyAll() : changed_.NotifyOne();
}

DecodePool::Waiting* DecodePool::NextClass() {
  auto& [interactive, bulk] = waiting_;
  if (interactive.empty() && bulk.empty()) return nullptr;
  const bool bulk_is_due = interactive_in_a_row_ >= kInteractivePerBulk - 1;
  if (interactive.empty() || (bulk_is_due && !bulk.empty())) {
    interactive_in_a_row_ = 0;
    return &bulk;
  }
  // Nothing is owed to bulk work that comes later.
  interactive_in_a_row_ = bulk.empty() ? 0 : interactive_in_a_row_ + 1;
  return &interactive;
}

DecodePool::Share DecodePool::Take(Waiting& waiting) {
  Entry& entry = **waiting.begin();
  Share share{&entry, entry.next, 1, entry.work.wanted()};
  if (!share.wanted) share.count = entry.work.inputs - entry.next;
  entry.next += share.count;
  if (entry.next == entry.work.inputs) waiting.erase(waiting.begin());
  return share;
}

void DecodePool::Loop() {
  while (true) {
    Share share;
    {
      MutexLock lock(mutex_);
      Waiting* waiting = nullptr;
      while ((waiting = NextClass()) == nullptr) {
        if (ending_) return;
        changed_.Wait(mutex_);
      }
      share = Take(*waiting);
    }
    Entry& entry = *share.entry;
    if (share.wanted) {
      entry.work.decode(share.input);
      decoded_.fetch_add(1, std::memory_order_relaxed);
    }
    {
      MutexLock lock(mutex_);
      entry.finished += share.count;
      if (entry.finished < entry.work.inputs) continue;
    }
    const std::unique_ptr<Entry> finished(&entry);
    finished->work.done();
  }
}

}  // namespace contextpool::engine
