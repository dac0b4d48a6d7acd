// A model of the repository with everything that serving it takes, and the set of all of them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/batch.h"
#include "engine/base/byte_budget.h"
#include "engine/base/mutex.h"
#include "engine/base/options.h"
#include "engine/base/stats.h"
#include "engine/engine.h"
#include "engine/model/model.h"
#include "engine/preprocess/tokenizer.h"

namespace contextpool::engine {

// The parts below `status` are set before the state becomes ready and never change afterwards.
struct ServedModel {
  ModelSpec spec;
  ModelCounters counters;
  ModelStatus status;  // guarded by the ModelSet
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Model> model;
  QueueId queue = -1;
  // Explanations of requests that are not answered yet.
  ByteBudget explaining;
};

// Thread safe. Models are never removed, so references stay valid.
class ModelSet {
 public:
  explicit ModelSet(std::vector<ModelSpec> specs);

  // In the order of the specs.
  const std::vector<std::unique_ptr<ServedModel>>& all() const { return models_; }

  void SetReady(ServedModel& model, std::shared_ptr<const ModelInfo> info, double load_seconds);
  void SetFailed(ServedModel& model, const absl::Status& why, double load_seconds);
  ModelStatus StatusOf(const ServedModel& model) const;

  // The model that answers. `task` unset: any text model, for its tokeniser. Errors as
  // Engine::Infer.
  absl::StatusOr<ServedModel*> Resolve(absl::string_view name, int64_t version,
                                       std::optional<TaskKind> task, Modality modality) const;

  // The model by name alone, whatever its state. An empty name means the only model there is.
  absl::StatusOr<ServedModel*> Find(absl::string_view name, int64_t version) const;

 private:
  absl::StatusOr<ServedModel*> FindLocked(absl::string_view name, int64_t version) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<ServedModel*> OnlyCandidate(std::optional<TaskKind> task, Modality modality) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // NOT_FOUND with the names that exist.
  absl::Status Unknown(absl::string_view name, int64_t version) const;

  std::vector<std::unique_ptr<ServedModel>> models_;
  mutable Mutex mutex_;
};

}  // namespace contextpool::engine
