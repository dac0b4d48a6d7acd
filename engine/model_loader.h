// Loads and unloads models, one after the other, in a thread of its own.
//
// A copy of a model version serves once it passed its checks, golden.safetensors and warm-up among
// them. A newer copy takes the older one's place in one step: requests that found the older copy
// finish on it, and once the last of them is answered its queue and its memory go. Models are freed
// by the loader's thread alone, never by the thread that answers a request.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/device/device.h"
#include "engine/engine.h"
#include "engine/model/model.h"
#include "engine/placement.h"
#include "engine/preprocess/tokenizer.h"
#include "engine/served_model.h"

namespace contextpool::engine {

// What the engine is built from.
struct EngineParts {
  // At least one, in the order in which the operator sees them.
  std::vector<std::unique_ptr<Device>> devices;
  std::function<absl::StatusOr<std::unique_ptr<Model>>(const ModelSpec&, Device&)> load_model;
  std::function<absl::StatusOr<std::unique_ptr<Tokenizer>>(const ModelSpec&)> load_tokenizer;
};

// Thread safe. All parts must outlive the loader.
class ModelLoader {
 public:
  struct Stages {
    ModelSet& models;
    const Workers& workers;
  };

  // Starts loading `specs`, which `stages.models` lists as loading.
  ModelLoader(std::vector<ModelSpec> specs, const EngineParts& parts, Clock& clock, Stages stages);
  // Stops, and waits until every copy of a model has been freed.
  // REQUIRES: no request is under way, nor will there be any.
  ~ModelLoader();

  // As Engine::Load and Engine::Unload.
  void Load(ModelSpec spec, Engine::LoadCallback done);
  void Unload(const ModelVersion& version, Engine::UnloadCallback done);

  // Blocks until each model of the start is ready or failed.
  void WaitUntilStarted();

  // Answers loads and unloads that have not begun, and those that come, with UNAVAILABLE. Does not
  // wait for the one that has.
  void Stop();

 private:
  // Does its work if `go` is OK, else answers with it.
  using Job = absl::AnyInvocable<void(absl::Status go)>;

  // Queues the job, or answers it at once if this is stopping.
  void Add(Job job);
  void Loop();
  // Waits for a copy to free or, failing that, a job. False: there will be neither.
  bool Next(std::unique_ptr<ServedModel>& unused, Job& job);

  absl::StatusOr<ModelStatus> LoadNow(ModelSpec spec);
  void UnloadNow(const ModelVersion& version, Engine::UnloadCallback done);
  // A copy that is complete and known to a worker's batcher and executor.
  absl::StatusOr<std::unique_ptr<ServedModel>> Prepare(const ModelSpec& spec);
  // The same on this worker. UNIMPLEMENTED: its device does not compute such a model. `passed_over`
  // is ModelInfo's.
  absl::StatusOr<std::unique_ptr<ServedModel>> PrepareOn(Worker& worker, ModelSpec spec,
                                                         std::string passed_over);
  // The same, ready to be handed out, with exceptions of libraries turned into errors.
  absl::StatusOr<std::shared_ptr<ServedModel>> PrepareNoThrow(const ModelSpec& spec);
  absl::Status AddToWorker(ServedModel& served);
  // Hands a copy out. It comes back to this thread when the last holder lets go of it.
  std::shared_ptr<ServedModel> Share(std::unique_ptr<ServedModel> served);
  void Free(std::unique_ptr<ServedModel> served);

  const EngineParts& parts_;
  Clock& clock_;
  const Stages stages_;

  Mutex mutex_;
  CondVar changed_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  // Copies that nobody holds any more.
  std::vector<std::unique_ptr<ServedModel>> unused_ ABSL_GUARDED_BY(mutex_);
  // Copies that somebody holds.
  int64_t shared_ ABSL_GUARDED_BY(mutex_) = 0;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  // Whom to tell that a copy has been freed. Used by the loader's thread alone.
  std::map<const ServedModel*, Engine::UnloadCallback> unloads_;

  std::thread thread_;
};

}  // namespace contextpool::engine
