// The metrics page: every figure of the server, the engine and the process, as Prometheus text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/admission/admission.h"
#include "server/observe/server_metrics.h"

namespace contextpool::server {

// Reads the counters and takes a snapshot of the engine at each scrape. Thread safe.
class ContextPoolCollectable : public prometheus::Collectable {
 public:
  // All must outlive this.
  ContextPoolCollectable(const ServerMetrics& metrics, const Admission& admission,
                         const engine::Engine& engine)
      : metrics_(metrics), admission_(admission), engine_(engine) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const ServerMetrics& metrics_;
  const Admission& admission_;
  const engine::Engine& engine_;
};

// process_*, from /proc/self. Thread safe.
class ProcessCollectable : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

std::string RenderMetrics(const std::vector<const prometheus::Collectable*>& collectables);

}  // namespace contextpool::server
