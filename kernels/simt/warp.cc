#include "kernels/simt/warp.h"

#include <algorithm>
#include <bit>
#include <sstream>
#include <utility>

#include "kernels/simt/block.h"

namespace contextpool::kernels::simt {
namespace {

std::string Lanes(uint32_t mask) {
  std::ostringstream out;
  out << std::popcount(mask) << (std::popcount(mask) == 1 ? " lane" : " lanes") << " (mask 0x"
      << std::hex << mask << ')';
  return out.str();
}

}  // namespace

void Warp::Start() {
  ready_ = lanes_;
  meetings_.clear();
}

Warp::Meeting& Warp::Join(const Collective& collective, uint32_t mask, Site site) {
  const Thread& self = Self();
  if ((mask >> self.lane & 1) == 0) {
    Raise(self, FaultKind::kDivergentCollective, site,
          std::string(collective.name) + " by lane " + std::to_string(self.lane) +
              ", which is not in its mask");
  }
  const auto meeting = std::ranges::find(meetings_, mask, &Meeting::mask);
  if (meeting == meetings_.end()) {
    meetings_.push_back({.collective = &collective, .mask = mask, .site = site});
    return meetings_.back();
  }
  if (meeting->collective != &collective || (collective.is_aligned && meeting->site != site)) {
    Raise(self, FaultKind::kDivergentCollective, site,
          std::string(collective.name) + " while " + DescribeWaiting());
  }
  return *meeting;
}

void Warp::Meet(const Collective& collective, uint32_t mask, Site site, void* args) {
  Thread& self = Self();
  const uint32_t needed = mask & lanes_;
  if (collective.is_aligned && needed != kFullMask) {
    Raise(self, FaultKind::kDivergentCollective, site,
          std::string(collective.name) + " needs a warp of 32 threads");
  }
  self.accesses_since_meeting = 0;
  ++self.operations;
  Meeting& meeting = Join(collective, mask, site);
  meeting.arrived |= 1u << self.lane;
  meeting.args[self.lane] = args;
  if (meeting.arrived != needed) {
    self.waits_at = site;
    set_waiting(self.lane);
    self.block->WaitUntilReady();
    return;
  }
  if (needed == lanes_) counter_.Flush();
  const Meeting complete = std::exchange(meeting, meetings_.back());
  meetings_.pop_back();
  collective.run(*this, needed, complete.args);
  ready_ |= needed;
}

std::string Warp::DescribeWaiting() const {
  std::ostringstream out;
  for (const Meeting& meeting : meetings_) {
    if (meeting.arrived == 0) continue;
    out << (out.tellp() > 0 ? "; " : "") << Lanes(meeting.arrived) << " of mask 0x" << std::hex
        << meeting.mask << std::dec << " wait at " << meeting.collective->name << " in "
        << ToString(meeting.site);
  }
  return out.str();
}

}  // namespace contextpool::kernels::simt
