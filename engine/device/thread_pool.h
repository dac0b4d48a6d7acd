// The threads of a CPU device: they share the tasks of one loop at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "kernels/cpu_stream.h"

namespace contextpool::engine {

// Run is called by one thread at a time; it works too, as thread 0. Between loops the others spin
// for some tens of microseconds, so that the next loop of the same batch starts at once, and then
// sleep: an idle pool uses no CPU time. A helper that is late costs nothing but its help: Run waits
// only for those that have begun.
class ThreadPool final : public kernels::CpuStream {
 public:
  // `loops_before` is where loops begin to be counted; for tests, which cannot wait for the number
  // to wrap.
  //
  // REQUIRES: threads >= 1, the caller of Run among them.
  ThreadPool(int threads, kernels::Isa isa, uint32_t loops_before = 0);
  ~ThreadPool() override;

  int threads() const override { return static_cast<int>(workers_.size()) + 1; }
  void Run(int64_t tasks, Task task, const void* context) override;

 private:
  // `seen` is the last loop's number.
  void Work(int thread, uint64_t seen);
  // Waits until a loop other than `seen` is open. False: the pool stops.
  bool AwaitLoop(uint64_t seen);
  bool Ready(uint64_t seen) const;
  // Counts this thread into the open loop, if any, and returns the loop's number.
  std::optional<uint64_t> Join();
  void TakeTasks(int thread);

  // The loop. Written only while it is closed and nobody is in it.
  Task task_ = nullptr;
  const void* context_ = nullptr;
  int64_t tasks_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};

  // Loop number (it wraps) << 32 | open << 31 | helpers inside.
  alignas(64) std::atomic<uint64_t> state_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};

  Mutex mutex_;
  CondVar wake_;
  std::vector<std::thread> workers_;
};

}  // namespace contextpool::engine
