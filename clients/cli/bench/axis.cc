#include "clients/cli/bench/axis.h"

#include <cmath>

namespace contextpool::cli::bench {

Axis LinearAxis(double highest) {
  constexpr double kMostSteps = 10;
  double step = std::pow(10, std::floor(std::log10(highest / kMostSteps)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    if (highest / (step * factor) > kMostSteps) continue;
    step *= factor;
    break;
  }
  const double steps = std::ceil(highest / step - 1e-9);
  Axis axis;
  axis.high = steps * step;
  for (double i = 0; i <= steps; ++i) axis.ticks.push_back(i * step);
  return axis;
}

Axis LogAxis(double lowest, double highest) {
  constexpr double kSlack = 1 + 1e-9;
  Axis axis;
  for (int power = static_cast<int>(std::floor(std::log10(lowest))); axis.high == 0; ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double tick = factor * std::pow(10, power);
      // The last one that is not above `lowest` begins the axis.
      if (tick <= lowest * kSlack) axis.ticks.clear();
      axis.ticks.push_back(tick);
      if (axis.ticks.size() < 2 || tick * kSlack < highest) continue;
      axis.low = axis.ticks.front();
      axis.high = tick;
      break;
    }
  }
  return axis;
}

}  // namespace contextpool::cli::bench
