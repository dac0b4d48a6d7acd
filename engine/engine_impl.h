// The engine with its parts exposed, so that tests can put their own device and models in.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/batching/batcher.h"
#include "engine/call.h"
#include "engine/device/device.h"
#include "engine/engine.h"
#include "engine/execution/executor.h"
#include "engine/served_model.h"

namespace contextpool::engine {

// What the engine is built from.
struct EngineParts {
  std::unique_ptr<Device> device;
  std::function<absl::StatusOr<std::unique_ptr<Model>>(const ModelSpec&, Device&)> load_model;
  std::function<absl::StatusOr<std::unique_ptr<Tokenizer>>(const ModelSpec&)> load_tokenizer;
};

class EngineImpl final : public Engine {
 public:
  EngineImpl(EngineOptions options, EngineParts parts, Clock& clock);
  ~EngineImpl() override;

  void WaitUntilLoaded() override;
  void Infer(Request request, Callback done) override;
  absl::StatusOr<TokenizeResponse> Tokenize(const TokenizeOptions& options,
                                            const std::vector<absl::string_view>& texts) override;
  std::vector<ModelStatus> ListModels() const override;
  absl::StatusOr<ModelStatus> GetModel(absl::string_view name, int64_t version) const override;
  Stats Snapshot() const override;
  void Drain() override;

 private:
  void LoadAll();
  absl::Status Load(ServedModel& served);
  // The same, with exceptions of libraries turned into errors.
  absl::Status LoadNoThrow(ServedModel& served);

  // Turns every input into a task, or into the error of that input.
  void Preprocess(ServedModel& served, Call& call);
  absl::Status AddTask(const ServedModel& served, Call& call, int32_t index);

  // Counts a request as in flight, unless the engine is draining.
  bool Accept();
  void Leave();

  const EngineParts parts_;
  Clock& clock_;
  ModelSet models_;
  Batcher batcher_;
  Executor executor_;

  mutable Mutex mutex_;
  CondVar changed_;
  bool loaded_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t in_flight_ ABSL_GUARDED_BY(mutex_) = 0;

  std::atomic<bool> stopping_{false};
  std::thread loader_;
};

}  // namespace contextpool::engine
