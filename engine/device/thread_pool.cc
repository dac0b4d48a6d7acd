#include "engine/device/thread_pool.h"

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace contextpool::engine {
namespace {

constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr int kNumberShift = 32;
constexpr std::chrono::microseconds kSpin{50};

constexpr uint64_t Number(uint64_t state) { return state >> kNumberShift; }
constexpr uint64_t Inside(uint64_t state) { return state & (kOpen - 1); }

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Until `done()`; false if that took longer than kSpin.
template <typename Done>
bool Spin(const Done& done) {
  const auto give_up = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < give_up);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int threads, kernels::Isa isa, uint32_t loops_before)
    : CpuStream(isa), state_(uint64_t{loops_before} << kNumberShift) {
  workers_.reserve(threads - 1);
  for (int i = 1; i < threads; ++i) workers_.emplace_back([=, this] { Work(i, loops_before); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  {
    MutexLock lock(mutex_);
    wake_.NotifyAll();
  }
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(int64_t tasks, Task task, const void* context) {
  if (workers_.empty() || tasks <= 1) return CpuStream::Run(tasks, task, context);
  task_ = task;
  context_ = context;
  tasks_ = tasks;
  next_.store(0, std::memory_order_relaxed);
  // Sequentially consistent, as the sleepers' own stores and loads are: either this sees the
  // sleeper or the sleeper sees the loop.
  state_.store((Number(state_.load()) + 1) << kNumberShift | kOpen);
  if (sleepers_.load() > 0) {
    MutexLock lock(mutex_);
    wake_.NotifyAll();
  }
  TakeTasks(0);
  state_.fetch_and(~kOpen);
  const auto left = [this] { return Inside(state_.load()) == 0; };
  while (!Spin(left)) std::this_thread::yield();
}

void ThreadPool::TakeTasks(int thread) {
  for (;;) {
    const int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
    if (index >= tasks_) return;
    task_(context_, index, thread);
  }
}

std::optional<uint64_t> ThreadPool::Join() {
  uint64_t state = state_.load();
  while ((state & kOpen) != 0) {
    if (state_.compare_exchange_weak(state, state + 1)) return Number(state);
  }
  return std::nullopt;
}

bool ThreadPool::Ready(uint64_t seen) const {
  const uint64_t state = state_.load();
  return ((state & kOpen) != 0 && Number(state) != seen) || stop_.load();
}

bool ThreadPool::AwaitLoop(uint64_t seen) {
  if (!Spin([&] { return Ready(seen); })) {
    MutexLock lock(mutex_);
    sleepers_.fetch_add(1);
    while (!Ready(seen)) wake_.Wait(mutex_);
    sleepers_.fetch_sub(1);
  }
  return !stop_.load();
}

void ThreadPool::Work(int thread, uint64_t seen) {
  while (AwaitLoop(seen)) {
    const std::optional<uint64_t> joined = Join();
    if (!joined.has_value()) continue;
    seen = *joined;
    TakeTasks(thread);
    state_.fetch_sub(1);
  }
}

}  // namespace contextpool::engine
