// Building blocks of prometheus-cpp's families.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/base/stats.h"
#include "prometheus/metric_family.h"

namespace contextpool::server {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// A family that is filled metric by metric.
class FamilyBuilder {
 public:
  FamilyBuilder(std::string name, std::string help, prometheus::MetricType type);

  // REQUIRES: a counter or gauge.
  void Add(const MetricLabels& labels, double value);
  // REQUIRES: a histogram. A snapshot without bounds stands for an empty histogram of time.
  void Add(const MetricLabels& labels, const engine::HistogramSnapshot& snapshot);

  prometheus::MetricFamily Take() { return std::move(family_); }

 private:
  prometheus::MetricFamily family_;
};

}  // namespace contextpool::server
