// A barrier of a block: number 0 is __syncthreads, 1 to 15 are named.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/simt/race_detector.h"
#include "kernels/simt/site.h"

namespace contextpool::kernels::simt {

struct Thread;

constexpr uint32_t kBarriers = 16;

struct Barrier {
  // As the first that came said.
  uint32_t threads = 0;
  Site site;
  uint32_t arrived = 0;
  std::vector<Thread*> waiting;
  // What those who came knew of each other.
  RaceDetector::Clocks clocks = {};
};

}  // namespace contextpool::kernels::simt
