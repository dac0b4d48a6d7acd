#include "kernels/simt/warp_ops.h"

#include <bit>
#include <string>

#include "kernels/simt/block.h"
#include "kernels/simt/warp.h"

namespace contextpool::kernels::simt {
namespace {

struct ShuffleArgs {
  uint64_t value;
  uint32_t source;
  uint64_t result;
  Site site;
};

void RunShuffle(Warp& warp, uint32_t mask, const LaneArgs& args) {
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    auto& own = *static_cast<ShuffleArgs*>(args[lane]);
    if ((mask >> own.source & 1) == 0) {
      Raise(warp.thread(lane), FaultKind::kDivergentCollective, own.site,
            "reads the value of lane " + std::to_string(own.source) + ", which takes no part");
    }
    own.result = static_cast<const ShuffleArgs*>(args[own.source])->value;
  }
}

constexpr Collective kShuffles[] = {{"Shuffle", RunShuffle, false},
                                    {"ShuffleUp", RunShuffle, false},
                                    {"ShuffleDown", RunShuffle, false},
                                    {"ShuffleXor", RunShuffle, false}};

// Beyond the warp a lane gets its own value.
uint32_t SourceLane(ShuffleKind kind, uint32_t lane, uint32_t operand) {
  switch (kind) {
    case ShuffleKind::kIndex:
      return operand % kWarpSize;
    case ShuffleKind::kUp:
      return operand <= lane ? lane - operand : lane;
    case ShuffleKind::kDown:
      return operand < kWarpSize - lane ? lane + operand : lane;
    case ShuffleKind::kXor:
      return (lane ^ operand) % kWarpSize;
  }
  return lane;
}

struct VoteArgs {
  bool predicate;
  uint32_t result;
};

void RunVote(Warp& /*warp*/, uint32_t mask, const LaneArgs& args) {
  uint32_t result = 0;
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    if ((mask >> lane & 1) != 0 && static_cast<const VoteArgs*>(args[lane])->predicate) {
      result |= 1u << lane;
    }
  }
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    if ((mask >> lane & 1) != 0) static_cast<VoteArgs*>(args[lane])->result = result;
  }
}

constexpr Collective kVotes[] = {
    {"Ballot", RunVote, false}, {"Any", RunVote, false}, {"All", RunVote, false}};

void RunSyncWarp(Warp& warp, uint32_t mask, const LaneArgs& /*args*/) {
  const Thread& thread = warp.thread(std::countr_zero(mask));
  RaceDetector& races = thread.block->races();
  const uint32_t number = thread.number / kWarpSize;
  if (mask == warp.lanes()) {
    races.SyncWarp(number);
  } else {
    races.SyncLanes(number, mask);
  }
}

// Lanes may come from different lines, as on a GPU since Volta.
constexpr Collective kSyncWarp = {"SyncWarp", RunSyncWarp, false};

}  // namespace

uint64_t Shuffle(ShuffleKind kind, uint64_t value, uint32_t operand, uint32_t mask, Site site) {
  ShuffleArgs args = {
      .value = value, .source = SourceLane(kind, Self().lane, operand), .result = 0, .site = site};
  Self().warp->Meet(kShuffles[static_cast<int>(kind)], mask, site, &args);
  return args.result;
}

uint32_t Vote(VoteKind kind, bool predicate, uint32_t mask, Site site) {
  VoteArgs args = {.predicate = predicate, .result = 0};
  Self().warp->Meet(kVotes[static_cast<int>(kind)], mask, site, &args);
  return args.result;
}

void MeetWarp(uint32_t mask, Site site) { Self().warp->Meet(kSyncWarp, mask, site, nullptr); }

}  // namespace contextpool::kernels::simt
