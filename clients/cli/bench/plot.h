// The picture of a load test: latency over throughput.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "clients/cli/bench/findings.h"

namespace contextpool::cli::bench {

struct PlotPoint {
  double calls_per_s = 0;
  // p50, p95 and p99, ascending.
  std::array<double, 3> latency_ms{};
  // Stands beside the point.
  std::string label;
};

struct Plot {
  std::string title;
  std::string subtitle;
  std::string x_name;
  // What the points' labels are.
  std::string label_legend;
  // In the order in which they are joined.
  std::vector<PlotPoint> points;
  // Drawn as a line across.
  std::optional<double> objective_ms;
};

// The points that were offered and have OK calls, by rising load: of an open loop over the rate
// offered, of a closed one over the OK calls per second, labelled with the calls in flight.
Plot PlotOf(const Findings& findings);

// An SVG document: calls per second from 0 on a linear axis, latency on a logarithmic one. It
// follows its viewer's choice of light or dark. REQUIRES: there is a point.
std::string Draw(const Plot& plot);

}  // namespace contextpool::cli::bench
