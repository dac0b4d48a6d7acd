// A running thread of an emulated kernel and what it may ask for. Used by the headers that kernels
// are written against, not by kernels.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "kernels/cuda/launch_config.h"
#include "kernels/simt/copy_queue.h"
#include "kernels/simt/fiber.h"
#include "kernels/simt/report.h"
#include "kernels/simt/site.h"

namespace contextpool::kernels::simt {

class Block;
class Warp;

struct Thread {
  Thread(Block* of_block, Warp* of_warp, Dim3 index, uint32_t in_block, size_t stack_bytes,
         std::function<void()> body)
      : block(of_block),
        warp(of_warp),
        id(index),
        number(in_block),
        lane(in_block % 32),
        fiber(stack_bytes, std::move(body)) {}

  Block* block;
  Warp* warp;
  Dim3 id;
  // In the block: x runs fastest.
  uint32_t number;
  uint32_t lane;
  Fiber fiber;
  CopyQueue copies;
  // Where it waits, for reports.
  Site waits_at;
  bool is_done = false;
  int64_t accesses_since_meeting = 0;
  int64_t operations = 0;
};

// The thread that runs now. REQUIRES, like everything below: called from a kernel.
extern constinit thread_local Thread* current_thread;
inline Thread& Self() { return *current_thread; }

// Ends the launch with this fault of `thread`, by an exception that unwinds the calling thread.
[[noreturn]] void Raise(const Thread& thread, FaultKind kind, Site site, std::string detail);

}  // namespace contextpool::kernels::simt
