// Whether the engine can answer at all, and why not.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "engine/base/clock.h"

namespace contextpool::engine {

struct EngineHealth {
  bool healthy = true;
  // False: only a new process can help.
  bool can_recover = true;
  // For the operator; empty if healthy.
  std::string reason;
  // When it became unhealthy.
  TimePoint since{};
};

// What two checks together say: unhealthy since the first of them, for the graver reason.
inline EngineHealth Worse(EngineHealth a, EngineHealth b) {
  if (a.healthy) return b;
  if (b.healthy) return a;
  EngineHealth& graver = a.can_recover && !b.can_recover ? b : a;
  graver.since = std::min(a.since, b.since);
  return std::move(graver);
}

}  // namespace contextpool::engine
