// The scales of a plot.
#pragma once

#include <vector>

namespace contextpool::cli::bench {

// Where an axis begins and ends, and its labelled places, the ends included.
struct Axis {
  double low = 0;
  double high = 0;
  std::vector<double> ticks;
};

// From 0, in some five to ten steps of 1, 2 or 5 times a power of ten. REQUIRES: highest > 0.
Axis LinearAxis(double highest);
// Ticks at 1, 2 and 5 times powers of ten. REQUIRES: 0 < lowest <= highest.
Axis LogAxis(double lowest, double highest);

}  // namespace contextpool::cli::bench
