// What an emulated launch found out: the first fault, and how memory was accessed.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/launch_config.h"
#include "kernels/simt/site.h"

namespace contextpool::kernels::simt {

enum class FaultKind : uint8_t {
  // A launch that no GPU would take: sizes of grid, block or shared memory.
  kBadLaunch,
  // Outside the array or span that the kernel was given.
  kOutOfBounds,
  // Inside the span, but in no registered buffer: the launcher gave a wrong size, or the buffer is
  // gone.
  kUnregistered,
  // An address that is not a multiple of the access' size.
  kMisaligned,
  // Shared memory that nobody has written in this block.
  kUninitialised,
  // Shared memory that a cp.async is still writing.
  kPendingCopy,
  // Two threads at the same byte of shared memory, one of them storing, and nothing orders them.
  kRace,
  // Lanes of one mask at different collectives, or a lane outside its own mask.
  kDivergentCollective,
  // Threads at different __syncthreads, or a barrier used with different numbers of threads.
  kBarrierMismatch,
  // Nobody can go on: some lanes or threads never came.
  kDeadlock,
  // A thread accessed memory very often without ever meeting others: probably an endless loop.
  kRunaway,
  // The kernel threw a C++ exception.
  kException,
};

const char* Name(FaultKind kind);
std::ostream& operator<<(std::ostream& out, FaultKind kind);

struct Fault {
  FaultKind kind = FaultKind::kBadLaunch;
  std::string kernel;
  Dim3 block = {0, 0, 0};
  Dim3 thread = {0, 0, 0};
  Site site = {};
  std::string detail;

  // "kernel, block (1, 0, 0), thread (33, 0, 0), file.cuh:12: out of bounds: ..."
  std::string ToString() const;
};

enum class Space : uint8_t { kShared, kGlobal };

// Accesses of whole warps. In shared memory a transaction is a pass over the 32 banks, in global
// memory a sector of 32 bytes.
struct AccessCounts {
  // Instructions of a warp.
  int64_t requests = 0;
  int64_t transactions = 0;
  // As many as these accesses need if no two words share a bank, or no sector is used in part.
  int64_t least_transactions = 0;

  // Bank conflicts in shared memory, wasted sectors in global memory.
  int64_t Excess() const { return transactions - least_transactions; }
  void Add(const AccessCounts& other);
};

// The accesses of one source line.
struct LineCounts {
  Space space = Space::kShared;
  Site site;
  AccessCounts counts;
};

struct LaunchReport {
  std::string kernel;
  // The first fault; the launch ends with it.
  std::optional<Fault> fault;
  AccessCounts shared;
  AccessCounts global;
  // By file and line.
  std::vector<LineCounts> lines;
  // Memory accesses and collectives, each counted once per lane.
  int64_t lane_operations = 0;

  // Adds the counts of one line, to the totals too.
  void Add(const LineCounts& line);
  void SortLines();

  bool ok() const { return !fault.has_value(); }
  // The fault, or "ok"; then a line for each source line that accesses memory.
  std::string ToString() const;
};

std::ostream& operator<<(std::ostream& out, const LaunchReport& report);

}  // namespace contextpool::kernels::simt
