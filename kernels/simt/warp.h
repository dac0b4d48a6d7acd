// Up to 32 threads and the collectives at which they meet.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/simt/access_counter.h"
#include "kernels/simt/site.h"
#include "kernels/simt/thread.h"

namespace contextpool::kernels::simt {

constexpr uint32_t kWarpSize = 32;
constexpr uint32_t kFullMask = 0xffffffff;

// The arguments of each lane of a collective, null for lanes outside its mask. They live on the
// lanes' own stacks; results are written there.
using LaneArgs = std::array<void*, kWarpSize>;

struct Collective {
  // As in the kernel's source.
  const char* name;
  // Runs once all lanes of the mask are there.
  void (*run)(Warp& warp, uint32_t mask, const LaneArgs& args);
  // All lanes must come from the same source line, and all 32 must exist (.aligned in PTX).
  bool is_aligned;
};

class Warp {
 public:
  explicit Warp(uint32_t lanes) : lanes_(lanes), counter_(lanes) {}

  // Lanes that exist.
  uint32_t lanes() const { return lanes_; }
  // Lanes that can go on.
  uint32_t ready() const { return ready_; }
  void set_ready(uint32_t lane) { ready_ |= 1u << lane; }
  void set_waiting(uint32_t lane) { ready_ &= ~(1u << lane); }
  AccessCounter& counter() { return counter_; }
  Thread& thread(uint32_t lane) { return *threads_[lane]; }
  void set_thread(Thread* thread) { threads_[thread->lane] = thread; }

  // Before each block.
  void Start();

  // The calling thread joins `collective` and returns when all lanes of `mask` have. Raises
  // kDivergentCollective.
  void Meet(const Collective& collective, uint32_t mask, Site site, void* args);

  // What its lanes wait for, or "" if none waits at a collective.
  std::string DescribeWaiting() const;

 private:
  struct Meeting {
    const Collective* collective;
    uint32_t mask;
    Site site;
    uint32_t arrived = 0;
    LaneArgs args = {};
  };

  Meeting& Join(const Collective& collective, uint32_t mask, Site site);

  const uint32_t lanes_;
  uint32_t ready_ = 0;
  std::array<Thread*, kWarpSize> threads_ = {};
  // Incomplete ones; their masks may overlap, the lanes that wait in them do not.
  std::vector<Meeting> meetings_;
  AccessCounter counter_;
};

}  // namespace contextpool::kernels::simt
