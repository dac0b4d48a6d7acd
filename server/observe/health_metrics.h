// The metrics page's figures about the engine's health.
#pragma once

#include <vector>

#include "engine/engine.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace contextpool::server {

// Thread safe.
class HealthCollectable : public prometheus::Collectable {
 public:
  // The engine must outlive this.
  explicit HealthCollectable(const engine::Engine& engine) : engine_(engine) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const engine::Engine& engine_;
};

}  // namespace contextpool::server
