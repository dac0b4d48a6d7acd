#include "kernels/simt/race_detector.h"

#include <algorithm>

namespace contextpool::kernels::simt {
namespace {

constexpr uint32_t kLanes = 32;

// Those that an actor may be.
uint32_t LanesOf(uint32_t actor) {
  return actor < RaceDetector::WarpActor(0) ? 1u << actor % kLanes : ~uint32_t{0};
}

}  // namespace

void RaceDetector::Start() {
  stores_.clear();
  for (Events& loads : loads_) loads.clear();
  loaders_ = 0;
  now_.fill(1);
  known_.fill({});
  ordered_.fill(0);
  for (std::vector<LanesMet>& met : lanes_met_) met.clear();
}

uint32_t RaceDetector::WarpOf(uint32_t actor) {
  return actor < WarpActor(0) ? actor / kLanes : (actor - WarpActor(0)) % kMaxWarps;
}

bool RaceDetector::IsOver(Event event, uint32_t actor) const {
  if (event.clock == 0) return true;
  const uint32_t warp = WarpOf(actor);
  const uint32_t other = WarpOf(event.actor);
  if (other != warp) return event.clock <= known_[warp][other];
  if (event.clock < ordered_[warp]) return true;
  // A thread knows what it did, and what the whole warp did at once is over for each of its lanes.
  if (event.actor == WarpActor(warp)) return true;
  if (event.actor == actor && actor < WarpActor(0)) return true;
  // Whom the news of the event has reached. Of several lanes it is not known which, so that one of
  // them having met `actor` has to do.
  uint32_t reached = 0;
  for (const LanesMet& met : lanes_met_[warp]) {
    const bool knows = (met.mask & (LanesOf(event.actor) | reached)) != 0;
    if (met.clock >= event.clock && knows) reached |= met.mask;
  }
  return (LanesOf(actor) & ~reached) == 0;
}

RaceDetector::Event RaceDetector::Merged(Event load, uint32_t actor) const {
  const Event now = Now(actor);
  if (IsOver(load, actor)) return now;
  // What the whole warp does at once is later than `load` for other warps only.
  if (actor == WarpActor(WarpOf(actor))) return {load.actor, now.clock};
  return {LanesActor(WarpOf(actor)), now.clock};
}

std::optional<uint32_t> RaceDetector::FindRacing(const Events& events, uint32_t actor,
                                                 size_t offset, size_t bytes) const {
  const size_t end = std::min(offset + bytes, events.size());
  Event over = {};
  for (size_t i = offset; i < end; ++i) {
    if (events[i] == over) continue;
    over = events[i];
    if (!IsOver(over, actor)) return over.actor;
  }
  return std::nullopt;
}

std::optional<uint32_t> RaceDetector::OnLoad(uint32_t actor, size_t offset, size_t bytes) {
  if (const auto other = FindRacing(stores_, actor, offset, bytes)) return other;
  const uint32_t warp = WarpOf(actor);
  loaders_ = std::max(loaders_, warp + 1);
  Events& loads = loads_[warp];
  if (loads.size() < offset + bytes) loads.resize(offset + bytes);
  Event last = loads[offset];
  Event merged = Merged(last, actor);
  for (size_t i = offset; i < offset + bytes; ++i) {
    if (loads[i] != last) {
      last = loads[i];
      merged = Merged(last, actor);
    }
    loads[i] = merged;
  }
  return std::nullopt;
}

std::optional<uint32_t> RaceDetector::OnStore(uint32_t actor, size_t offset, size_t bytes) {
  if (const auto other = FindRacing(stores_, actor, offset, bytes)) return other;
  for (uint32_t warp = 0; warp < loaders_; ++warp) {
    if (const auto other = FindRacing(loads_[warp], actor, offset, bytes)) return other;
  }
  RecordStore(actor, offset, bytes);
  return std::nullopt;
}

void RaceDetector::RecordStore(uint32_t actor, size_t offset, size_t bytes) {
  if (stores_.size() < offset + bytes) stores_.resize(offset + bytes);
  std::fill_n(stores_.begin() + offset, bytes, Now(actor));
}

void RaceDetector::OrderLanes(uint32_t warp, uint32_t clock) {
  if (ordered_[warp] >= clock) return;
  ordered_[warp] = clock;
  std::erase_if(lanes_met_[warp], [&](const LanesMet& met) { return met.clock < clock; });
}

void RaceDetector::SyncWarp(uint32_t warp) { OrderLanes(warp, ++now_[warp]); }

void RaceDetector::SyncLanes(uint32_t warp, uint32_t mask) {
  lanes_met_[warp].push_back({mask, now_[warp]++});
}

void RaceDetector::Arrive(uint32_t warp, Clocks& clocks) {
  for (uint32_t other = 0; other < kMaxWarps; ++other) {
    clocks[other] = std::max(clocks[other], known_[warp][other]);
  }
  clocks[warp] = std::max(clocks[warp], now_[warp]);
}

void RaceDetector::Leave(uint32_t warp, const Clocks& clocks) {
  for (uint32_t other = 0; other < kMaxWarps; ++other) {
    known_[warp][other] = std::max(known_[warp][other], clocks[other]);
  }
  // Its other lanes knew all that it did before.
  now_[warp] = std::max(now_[warp], clocks[warp] + 1);
  OrderLanes(warp, clocks[warp] + 1);
}

}  // namespace contextpool::kernels::simt
