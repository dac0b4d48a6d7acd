// The model versions that the engine knows, and the loaded copies of them that answer.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
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
#include "engine/preprocess/image_processor.h"
#include "engine/preprocess/tokenizer.h"
#include "engine/result_cache.h"
#include "engine/worker.h"

namespace contextpool::engine {

// A model version: its name and its number.
using ModelVersion = std::pair<std::string, int64_t>;

// One loaded copy of a model version with everything that answering takes. Complete before it
// serves; afterwards nothing but what it counts changes.
struct ServedModel {
  ModelSpec spec;
  std::shared_ptr<const ModelInfo> info;
  // Of the version: they outlive this copy.
  std::shared_ptr<ModelCounters> counters;
  // One of the two: what the model reads is made ready by it.
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ImageProcessor> image_processor;
  std::unique_ptr<Model> model;
  // Where it is computed, and its queue there.
  Worker* worker = nullptr;
  QueueId queue = -1;
  // Null: results are not kept.
  std::unique_ptr<ResultCache> cache;
  // Pixels of images that are not queued yet.
  ByteBudget decoding;
  // Explanations of requests that are not answered yet.
  ByteBudget explaining;

  ModelVersion version() const { return {spec.name, spec.version}; }
};

// What is known of one version at one moment.
struct ModelListing {
  ModelStatus status;
  std::shared_ptr<ModelCounters> counters;
  // The copy that new requests get; null unless the state is ready. Whoever holds it keeps it
  // loaded.
  std::shared_ptr<ServedModel> serving;
};

// Which versions there are, in which state, and which copy of each answers. Thread safe.
class ModelSet {
 public:
  // All loading.
  explicit ModelSet(const std::vector<ModelSpec>& specs);

  // Lists the version as loading, unless it is ready: it then goes on serving while another copy
  // is loaded.
  void SetLoading(const ModelVersion& version);
  // From now on new requests get `model`; returns the copy that they got until now, if any.
  std::shared_ptr<ServedModel> SetReady(std::shared_ptr<ServedModel> model, double load_seconds);
  // A version that is ready stays so, with the reason why its newer copy was refused.
  void SetFailed(const ModelVersion& version, const absl::Status& why, double load_seconds);
  // Returns the copy that answered until now, if any. NOT_FOUND: no such version.
  // FAILED_PRECONDITION: it is unloading already.
  absl::StatusOr<std::shared_ptr<ServedModel>> SetUnloading(const ModelVersion& version);
  // Forgets a version if it is still unloading. What it counted is kept, see Stats::unloaded.
  void Erase(const ModelVersion& version);
  // Forgets all versions, and lets go of what serves.
  void Clear();

  // The models of the start are loaded or failed: requests without a name need not wait for more.
  void EndStart();

  // Sorted by name, then version. `unloaded`, unless null, gets what versions that were gone at
  // that moment have counted.
  std::vector<ModelListing> All(std::vector<ModelStats>* unloaded = nullptr) const;
  // What a copy that is described by `info` counts in: what its version has counted so far goes on,
  // unless the layers with ContextPool are others.
  std::shared_ptr<ModelCounters> CountersFor(const ModelInfo& info) const;

  // The model that answers. `task` unset: any text model, for its tokeniser. Errors as
  // Engine::Infer.
  absl::StatusOr<std::shared_ptr<ServedModel>> Resolve(absl::string_view name, int64_t version,
                                                       std::optional<TaskKind> task,
                                                       Modality modality) const;

  // The model by name alone, whatever its state. An empty name means the only model there is.
  absl::StatusOr<ModelStatus> Find(absl::string_view name, int64_t version) const;

 private:
  using Listings = std::map<ModelVersion, ModelListing>;

  absl::StatusOr<Listings::const_iterator> FindLocked(absl::string_view name, int64_t version) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Listings::const_iterator> OnlyCandidate(std::optional<TaskKind> task,
                                                         Modality modality) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // NOT_FOUND with the names that exist.
  absl::Status Unknown(absl::string_view name, int64_t version) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes over what a version that goes, or changes its layers, has counted.
  void KeepCounts(const ModelListing& listing) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  Listings models_ ABSL_GUARDED_BY(mutex_);
  bool starting_ ABSL_GUARDED_BY(mutex_) = true;
  std::vector<ModelStats> unloaded_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace contextpool::engine
