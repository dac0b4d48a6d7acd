#include "kernels/simt/race_detector.h"

#include <algorithm>

namespace contextpool::kernels::simt {

void RaceDetector::Start(size_t bytes) {
  std::fill_n(cells_.begin(), bytes, Cell{});
  now_.fill(1);
  known_.fill({});
}

uint32_t RaceDetector::WarpOf(uint32_t actor) {
  return actor < WarpActor(0) ? actor / 32 : actor - WarpActor(0);
}

bool RaceDetector::IsOver(Event event, uint32_t actor) const {
  if (event.actor == actor || event.actor == kNobody) return true;
  const uint32_t warp = WarpOf(actor);
  const uint32_t other = WarpOf(event.actor);
  if (other != warp) return event.clock <= known_[warp][other];
  // What the whole warp did at once is over for each of its lanes.
  return event.actor == WarpActor(other) || event.clock < now_[warp];
}

std::optional<uint32_t> RaceDetector::OnLoad(uint32_t actor, size_t offset, size_t bytes) {
  const Event now = Now(actor);
  for (Cell& cell : std::span(cells_).subspan(offset, bytes)) {
    if (!IsOver(cell.store, actor)) return uint32_t{cell.store.actor};
    const Event last = cell.loads[0];
    if (last.actor != kNobody && WarpOf(last.actor) != WarpOf(actor)) cell.loads[1] = last;
    cell.loads[0] = now;
  }
  return std::nullopt;
}

std::optional<uint32_t> RaceDetector::OnStore(uint32_t actor, size_t offset, size_t bytes) {
  for (const Cell& cell : std::span(cells_).subspan(offset, bytes)) {
    for (const Event& event : {cell.store, cell.loads[0], cell.loads[1]}) {
      if (!IsOver(event, actor)) return uint32_t{event.actor};
    }
  }
  RecordStore(actor, offset, bytes);
  return std::nullopt;
}

void RaceDetector::RecordStore(uint32_t actor, size_t offset, size_t bytes) {
  std::fill_n(cells_.begin() + offset, bytes, Cell{.store = Now(actor)});
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
}

}  // namespace contextpool::kernels::simt
