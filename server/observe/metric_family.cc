#include "server/observe/metric_family.h"

#include <limits>

namespace contextpool::server {
namespace {

prometheus::ClientMetric WithLabels(const MetricLabels& labels) {
  prometheus::ClientMetric metric;
  for (const auto& [name, value] : labels) metric.label.push_back({name, value});
  return metric;
}

}  // namespace

FamilyBuilder::FamilyBuilder(std::string name, std::string help, prometheus::MetricType type) {
  family_.name = std::move(name);
  family_.help = std::move(help);
  family_.type = type;
}

void FamilyBuilder::Add(const MetricLabels& labels, double value) {
  prometheus::ClientMetric metric = WithLabels(labels);
  if (family_.type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family_.metric.push_back(std::move(metric));
}

void FamilyBuilder::Add(const MetricLabels& labels, const engine::HistogramSnapshot& snapshot) {
  const std::vector<double>& bounds =
      snapshot.bounds.empty() ? engine::Histogram::TimeBounds() : snapshot.bounds;
  prometheus::ClientMetric metric = WithLabels(labels);
  uint64_t cumulative = 0;
  for (size_t i = 0; i <= bounds.size(); ++i) {
    if (i < snapshot.counts.size()) cumulative += snapshot.counts[i];
    prometheus::ClientMetric::Bucket bucket;
    bucket.cumulative_count = cumulative;
    bucket.upper_bound = i < bounds.size() ? bounds[i] : std::numeric_limits<double>::infinity();
    metric.histogram.bucket.push_back(bucket);
  }
  metric.histogram.sample_count = cumulative;
  metric.histogram.sample_sum = snapshot.sum;
  family_.metric.push_back(std::move(metric));
}

}  // namespace contextpool::server
