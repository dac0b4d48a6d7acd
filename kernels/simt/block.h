// One block of an emulated launch: its threads, run one at a time in the order of a schedule.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/launch_config.h"
#include "kernels/simt/barrier.h"
#include "kernels/simt/launch.h"
#include "kernels/simt/memory_regions.h"
#include "kernels/simt/race_detector.h"
#include "kernels/simt/random.h"
#include "kernels/simt/report.h"
#include "kernels/simt/shared_memory.h"
#include "kernels/simt/thread.h"
#include "kernels/simt/warp.h"

namespace contextpool::kernels::simt {

// Thrown through a thread's stack to end it; kernels must not catch it.
struct Unwind {};

// Runs blocks one after another, with the same fibers. Used by one host thread.
class Block {
 public:
  // All references must outlive the block.
  Block(const LaunchConfig& config, const LaunchOptions& options, const Regions& regions,
        const std::function<void()>& kernel);
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // Returns the fault that ended it, if any; no other block may run after one.
  std::optional<Fault> Run(Dim3 index);

  // Adds what was counted so far.
  void AddCounts(LaunchReport* report) const;

  // For the running threads.
  const LaunchConfig& config() const { return config_; }
  const LaunchOptions& options() const { return options_; }
  Dim3 index() const { return index_; }
  const Thread& thread(uint32_t number) const { return *threads_[number]; }
  SharedMemory& shared() { return shared_; }
  RaceDetector& races() { return races_; }
  bool IsRegistered(uintptr_t address, size_t bytes);
  // The calling thread meets `threads` - 1 others at barrier `id`; if `waits`, it goes on only
  // then.
  void Meet(uint32_t id, uint32_t threads, bool waits, Site site);
  // Lets other threads run until this one is ready again.
  void WaitUntilReady();
  void SetFault(Fault fault);

 private:
  void ThreadBody(Thread& thread);
  void RunThread(Thread& thread);
  // Each ready lane once, in random order.
  void StepWarp(Warp& warp);
  // Whether anything could run.
  bool StepAllWarps();
  bool RunOneWarp();
  void UnwindAll();
  // All have come: those who wait go on.
  void Release(Barrier& barrier);
  Fault Deadlock() const;

  const LaunchConfig& config_;
  const LaunchOptions& options_;
  const Regions& regions_;
  const std::function<void()>& kernel_;
  Dim3 index_;
  SharedMemory shared_;
  RaceDetector races_;
  std::vector<std::unique_ptr<Warp>> warps_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::array<Barrier, kBarriers> barriers_;
  Random random_;
  size_t threads_left_ = 0;
  std::optional<Fault> fault_;
  bool quits_ = false;
  // Where the last global access was: usually the next one is there too.
  Region last_region_;
};

}  // namespace contextpool::kernels::simt
