#include "clients/cli/bench/arrivals.h"

#include <cmath>

namespace contextpool::cli::bench {
namespace {

Nanoseconds FromSeconds(double seconds) {
  return std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(seconds));
}

}  // namespace

std::vector<Nanoseconds> ArrivalTimes(ArrivalShape shape, double rate_per_s, Nanoseconds span,
                                      Random& random) {
  std::vector<Nanoseconds> times;
  times.reserve(static_cast<size_t>(rate_per_s * Seconds(span)) + 1);
  double poisson_s = 0;
  for (;;) {
    double at_s = 0;
    if (shape == ArrivalShape::kConstant) {
      // From the start each time: added gaps would add up their rounding.
      at_s = static_cast<double>(times.size()) / rate_per_s;
    } else {
      poisson_s -= std::log1p(-Uniform01(random)) / rate_per_s;
      at_s = poisson_s;
    }
    const Nanoseconds at = FromSeconds(at_s);
    if (at >= span) return times;
    times.push_back(at);
  }
}

}  // namespace contextpool::cli::bench
