// Finds accesses of two threads to the same byte of shared memory, at least one of them a store,
// that nothing orders: on a GPU either may come first, whatever this schedule did.
//
// Barriers order the accesses of the threads that meet there, SyncWarp those of a warp. Shuffles,
// votes and matrix instructions order nothing. Time is counted per warp: a clock that advances
// whenever the warp is ordered with others, and for each warp the clocks of the others up to which
// their accesses are known to be over (Lamport's clocks, compared as in FastTrack, Flanagan and
// Freund, PLDI 2009).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace contextpool::kernels::simt {

class RaceDetector {
 public:
  static constexpr uint32_t kMaxWarps = 32;
  // For each warp, up to when its accesses are over.
  using Clocks = std::array<uint32_t, kMaxWarps>;

  // Who accesses: a thread, by its number in the block, or a warp as a whole.
  static constexpr uint32_t WarpActor(uint32_t warp) { return kMaxWarps * 32 + warp; }

  explicit RaceDetector(size_t bytes) : cells_(bytes) {}

  // Before each block; `bytes` of it were in use so far.
  void Start(size_t bytes);

  // Accesses of bytes [offset, offset + bytes). The other actor if they race with an earlier one.
  std::optional<uint32_t> OnLoad(uint32_t actor, size_t offset, size_t bytes);
  std::optional<uint32_t> OnStore(uint32_t actor, size_t offset, size_t bytes);
  // A store that needs no check: a copy whose start was checked is done.
  void RecordStore(uint32_t actor, size_t offset, size_t bytes);

  // SyncWarp. With a partial mask it counts as one of all lanes: races of the others are missed.
  void SyncWarp(uint32_t warp) { ++now_[warp]; }

  // A thread of `warp` comes to a barrier: adds what it knows to `clocks`.
  void Arrive(uint32_t warp, Clocks& clocks);
  // A thread of `warp` leaves a barrier at which `clocks` were gathered.
  void Leave(uint32_t warp, const Clocks& clocks);

 private:
  // An actor and its warp's clock; empty if `actor` is kNobody.
  struct Event {
    uint32_t actor : 12;
    uint32_t clock : 20;
  };
  static constexpr uint32_t kNobody = 0xfff;

  struct Cell {
    Event store = {kNobody, 0};
    // Since then. Of more than two threads, the last two of different warps.
    std::array<Event, 2> loads = {Event{kNobody, 0}, Event{kNobody, 0}};
  };

  static uint32_t WarpOf(uint32_t actor);
  Event Now(uint32_t actor) const { return {actor, now_[WarpOf(actor)]}; }
  // Whether `event` is certainly over for `actor`.
  bool IsOver(Event event, uint32_t actor) const;

  std::vector<Cell> cells_;
  Clocks now_ = {};
  // known_[w][v]: up to when warp w knows that accesses of warp v are over.
  std::array<Clocks, kMaxWarps> known_ = {};
};

}  // namespace contextpool::kernels::simt
