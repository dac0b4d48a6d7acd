// Groups the accesses of single lanes into those of their warp, and counts what they cost.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/simt/report.h"

namespace contextpool::kernels::simt {

// Passes over the banks that one request of a warp takes: 32 banks of 4 bytes; accesses of 8 bytes
// go in half warps, of 16 bytes in quarter warps; lanes that read the same word share it.
// `offsets` are bytes from the start of shared memory, one per active lane in lane order.
AccessCounts CountBanks(std::span<const uint64_t> offsets, int bytes);

// Sectors of 32 bytes that one request of a warp touches. REQUIRES: aligned to `bytes` <= 16.
AccessCounts CountSectors(std::span<const uint64_t> addresses, int bytes);

// Of one warp. The n-th access of each lane at one source line since the warp last met counts as
// one request: what a GPU does if the lanes go through the same code.
class AccessCounter {
 public:
  // `lanes`: those that exist.
  explicit AccessCounter(uint32_t lanes) : lanes_(lanes) {}

  void Record(Space space, Site site, uint32_t lane, uint64_t address, int bytes);

  // All lanes have met, or the block is over: later accesses start new requests.
  void Flush();

  std::vector<LineCounts> lines() const;

 private:
  struct Request {
    uint32_t lanes = 0;
    int bytes = 0;
    std::array<uint64_t, 32> addresses;
  };
  struct Line {
    Space space;
    Site site;
    AccessCounts counts = {};
    // How often each lane came here since the last Flush.
    std::array<uint32_t, 32> visits = {};
    std::vector<Request> requests = {};
    size_t open_requests = 0;
  };

  Line& Find(Space space, Site site);
  static void Count(Line& line, const Request& request);

  uint32_t lanes_;
  std::vector<Line> lines_;
  size_t last_line_ = 0;
};

}  // namespace contextpool::kernels::simt
