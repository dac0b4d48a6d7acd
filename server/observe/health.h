// Which services answer requests now, and who wants to hear of changes.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/base/mutex.h"
#include "engine/engine.h"

namespace contextpool::server {

// The full names of services, as health checks name them.
inline constexpr char kEmbeddingServiceName[] = "contextpool.v1.EmbeddingService";
inline constexpr char kClassificationServiceName[] = "contextpool.v1.ClassificationService";

// While the engine is unhealthy nothing serves. Thread safe. The engine does not call back, so
// changes are found by asking it: every 20 ms while models load, every second afterwards.
class HealthMonitor {
 public:
  enum class Phase : uint8_t { kServing, kDraining, kStopped };
  // By full name; those that answer are true.
  using Services = std::map<std::string, bool>;
  struct State {
    Phase phase = Phase::kServing;
    Services services;
    bool operator==(const State&) const = default;
  };
  // Must not block, nor call this monitor.
  using Listener = std::function<void(const State&)>;

  // The engine must outlive this.
  explicit HealthMonitor(const engine::Engine& engine);
  ~HealthMonitor();

  // Whether "" (anything at all), a service or "model:<name>" answers; nullopt: no such service.
  std::optional<bool> Serving(const std::string& service) const;

  // Moves on only: serving, draining (nothing answers), stopped (watchers must end).
  void SetPhase(Phase phase);
  Phase phase() const;

  // The listener is called with the state at once, and after each change from another thread. Once
  // RemoveListener has returned it is not called any more.
  int64_t AddListener(Listener listener);
  void RemoveListener(int64_t id);

  // The models of the start have been loaded, or failed, whatever else is being loaded.
  void EndStart() { started_ = true; }

  // For /readyz: the engine is healthy, a model is ready and, until that was so for the first time,
  // none is still loading: models that are added later do not take the server out of service.
  bool Ready() const;
  // {"ready":true,"draining":false,"healthy":true,
  //  "models":[{"name":...,"version":1,"state":"ready"}]}
  // If not healthy, "reason" says why.
  std::string ReadinessJson() const;

  // For /healthz: OK while the process may yet answer; UNAVAILABLE, with the reason, once only a
  // new one will.
  absl::Status Alive() const;

 private:
  State Current(Phase phase) const;
  bool ModelsReady(const std::vector<engine::ModelStatus>& models) const;
  // Calls the listeners if the state is news.
  void Tell(State now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Poll();

  const engine::Engine& engine_;
  // The models of the start have been loaded, or failed.
  mutable std::atomic<bool> started_{false};
  mutable engine::Mutex mutex_;
  engine::CondVar changed_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kServing;
  bool quit_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t next_listener_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, Listener> listeners_ ABSL_GUARDED_BY(mutex_);
  // What the listeners know.
  State told_ ABSL_GUARDED_BY(mutex_);
  // Of phase_ and told_.
  uint64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread poller_;
};

}  // namespace contextpool::server
