// Changes what is served: on behalf of an operator, or of the watcher of the repository.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/engine.h"
#include "server/observe/log.h"
#include "server/observe/server_metrics.h"

namespace contextpool::server {

// One line of log: the model serves, or why it does not.
void LogModel(Logger& logger, const engine::ModelStatus& model);

// Thread safe. What is asked for is done in order, one after the other, and goes on whether or not
// somebody still waits for it. Each outcome is logged once. Callbacks as the engine's.
//
// Operators name models; a name is compared with what the repository holds at that moment and never
// becomes a path.
class ModelControl {
 public:
  using LoadCallback = engine::Engine::LoadCallback;
  using UnloadCallback = engine::Engine::UnloadCallback;

  // All must outlive this.
  ModelControl(std::vector<std::string> repositories, engine::Engine& engine,
               ServerMetrics& metrics, Logger& logger);

  // Loads a version of the repository, also one that version_policy does not choose; 0: the highest
  // that it does choose. A version that is ready is left as it is.
  //
  // NOT_FOUND: the repository has no such version; the message says what it has.
  // FAILED_PRECONDITION: the model cannot be loaded; the message says why. RESOURCE_EXHAUSTED:
  // there is no memory for it. UNAVAILABLE: draining.
  void LoadModel(absl::string_view name, int64_t version, LoadCallback done);

  // Loads a version that is listed again, whatever its state; 0: the one that serves by default.
  // Errors as LoadModel; NOT_FOUND: it is not listed either.
  void ReloadModel(absl::string_view name, int64_t version, LoadCallback done);

  // Stops serving a version; 0: all of the model's. Answers when all of them are gone, with the
  // first error.
  void UnloadModel(absl::string_view name, int64_t version, UnloadCallback done);

  // The same for what is known already. Errors as Engine's.
  void Load(engine::ModelSpec spec, LoadCallback done);
  void Unload(const ModelKey& model, UnloadCallback done);

  // Whether this version answers.
  bool IsReady(const ModelKey& model) const;

 private:
  absl::StatusOr<engine::ModelSpec> Find(absl::string_view name, int64_t version) const;
  void LoadForOperator(engine::ModelSpec spec, LoadCallback done);
  void LogFailure(const ModelKey& model, const absl::Status& why);

  const std::vector<std::string> repositories_;
  engine::Engine& engine_;
  ServerMetrics& metrics_;
  Logger& logger_;
};

}  // namespace contextpool::server
