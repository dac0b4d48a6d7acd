#include "server/observe/health_metrics.h"

#include <array>
#include <map>
#include <string>

#include "server/observe/metric_family.h"

namespace contextpool::server {
namespace {

using ::prometheus::MetricFamily;
using ::prometheus::MetricType;

// Of all versions of a name, those that are gone included.
using CanariesByName = std::map<std::string, std::array<double, engine::kCanaryResults.size()>>;

void AddCanaries(const std::vector<engine::ModelStats>& models, CanariesByName& total) {
  for (const engine::ModelStats& model : models) {
    auto& counts = total[model.info->name];
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += static_cast<double>(model.canaries[i]);
  }
}

MetricFamily Healthy(bool healthy) {
  FamilyBuilder gauge("contextpool_engine_healthy",
                      "1 while the engine can answer; 0 while an executor is stuck or its canaries"
                      " fail.",
                      MetricType::Gauge);
  gauge.Add({}, healthy ? 1 : 0);
  return gauge.Take();
}

MetricFamily Steps(const engine::Stats& stats) {
  FamilyBuilder steps("contextpool_executor_step_seconds",
                      "Age of the batch, or of the pass of a load, that the device computes; 0: it"
                      " computes none.",
                      MetricType::Gauge);
  for (const engine::DeviceStats& device : stats.devices) {
    steps.Add({{"device", device.name}}, device.step_seconds);
  }
  return steps.Take();
}

MetricFamily Canaries(const engine::Stats& stats) {
  CanariesByName models;
  AddCanaries(stats.models, models);
  AddCanaries(stats.unloaded, models);
  FamilyBuilder canaries("contextpool_canary_total",
                         "The server's own requests to models that were idle. Nothing else on this "
                         "page counts them.",
                         MetricType::Counter);
  for (const auto& [name, counts] : models) {
    for (size_t i = 0; i < counts.size(); ++i) {
      canaries.Add({{"model", name}, {"result", engine::kCanaryResults[i].second}}, counts[i]);
    }
  }
  return canaries.Take();
}

}  // namespace

std::vector<MetricFamily> HealthCollectable::Collect() const {
  const engine::Stats stats = engine_.Snapshot();
  return {Healthy(engine_.Health().healthy), Steps(stats), Canaries(stats)};
}

}  // namespace contextpool::server
