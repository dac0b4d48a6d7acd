// Finds accesses of two threads to the same byte of shared memory, at least one of them a store,
// that nothing orders: on a GPU either may come first, whatever this schedule did.
//
// Barriers order the accesses of the threads that meet there, SyncWarp those of the lanes in its
// mask. Shuffles, votes and matrix instructions order nothing. Time is counted per warp: a clock
// that advances whenever lanes of the warp are ordered with others, and for each warp the clocks of
// the others up to which their accesses are known to be over (Lamport's clocks, compared as in
// FastTrack, Flanagan and Freund, PLDI 2009).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace contextpool::kernels::simt {

class RaceDetector {
 public:
  static constexpr uint32_t kMaxWarps = 32;
  // For each warp, up to when its accesses are over.
  using Clocks = std::array<uint32_t, kMaxWarps>;

  // Who accesses: a thread, by its number in the block; a warp that takes part as a whole and goes
  // on when the access is over; or several lanes of a warp, each for itself.
  static constexpr uint32_t WarpActor(uint32_t warp) { return kMaxWarps * 32 + warp; }
  static constexpr uint32_t LanesActor(uint32_t warp) { return WarpActor(kMaxWarps) + warp; }
  static uint32_t WarpOf(uint32_t actor);

  // Before each block.
  void Start();

  // Accesses of bytes [offset, offset + bytes). The other actor if they race with an earlier one.
  std::optional<uint32_t> OnLoad(uint32_t actor, size_t offset, size_t bytes);
  std::optional<uint32_t> OnStore(uint32_t actor, size_t offset, size_t bytes);
  // A store that needs no check: a copy whose start was checked is done.
  void RecordStore(uint32_t actor, size_t offset, size_t bytes);

  // SyncWarp of all lanes that exist, or of those in `mask` alone.
  void SyncWarp(uint32_t warp);
  void SyncLanes(uint32_t warp, uint32_t mask);

  // A thread of `warp` comes to a barrier: adds what it knows to `clocks`.
  void Arrive(uint32_t warp, Clocks& clocks);
  // A thread of `warp` leaves a barrier at which `clocks` were gathered.
  void Leave(uint32_t warp, const Clocks& clocks);
  // A thread of `warp` has come to a barrier and goes on: the barrier does not cover what follows.
  void GoOn(uint32_t warp) { ++now_[warp]; }

 private:
  // An actor and its warp's clock; 0: there was none.
  struct Event {
    uint32_t actor = 0;
    uint32_t clock = 0;
    bool operator==(const Event&) const = default;
  };
  // By byte; those beyond the end are empty.
  using Events = std::vector<Event>;

  struct LanesMet {
    uint32_t mask;
    uint32_t clock;
  };

  Event Now(uint32_t actor) const { return {actor, now_[WarpOf(actor)]}; }
  // Whether `event` is certainly over for `actor`.
  bool IsOver(Event event, uint32_t actor) const;
  // One event for both, as others see them: a load by `load.actor` and now one by `actor`, of the
  // same warp.
  Event Merged(Event load, uint32_t actor) const;
  // Of `events`, the first one of these bytes that is not over for `actor`.
  std::optional<uint32_t> FindRacing(const Events& events, uint32_t actor, size_t offset,
                                     size_t bytes) const;
  // All that a warp did before `clock` is over for each of its lanes.
  void OrderLanes(uint32_t warp, uint32_t clock);

  Events stores_;
  // The last loads of each warp. Those before a store stay: whoever comes after the store comes
  // after them.
  std::array<Events, kMaxWarps> loads_;
  // The warps from this one on have loaded nothing.
  uint32_t loaders_ = 0;
  Clocks now_ = {};
  // known_[w][v]: up to when warp w knows that accesses of warp v are over.
  std::array<Clocks, kMaxWarps> known_ = {};
  // Before this clock of a warp its accesses are over for each of its lanes; since then, parts of
  // the warp have met, in this order.
  Clocks ordered_ = {};
  std::array<std::vector<LanesMet>, kMaxWarps> lanes_met_;
};

}  // namespace contextpool::kernels::simt
