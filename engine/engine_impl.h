// The engine with its parts exposed, so that tests can put their own device and models in.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/base/mutex.h"
#include "engine/call.h"
#include "engine/decode_pool.h"
#include "engine/engine.h"
#include "engine/image_inputs.h"
#include "engine/model_loader.h"
#include "engine/placement.h"
#include "engine/served_model.h"
#include "engine/watchdog.h"

namespace contextpool::engine {

class EngineImpl final : public Engine {
 public:
  EngineImpl(EngineOptions options, EngineParts parts, Clock& clock);
  ~EngineImpl() override;

  void WaitUntilLoaded() override;
  void Load(ModelSpec spec, LoadCallback done) override;
  void Unload(absl::string_view name, int64_t version, UnloadCallback done) override;
  void Infer(Request request, Callback done) override;
  absl::StatusOr<TokenizeResponse> Tokenize(const TokenizeOptions& options,
                                            const std::vector<absl::string_view>& texts) override;
  std::vector<ModelStatus> ListModels() const override;
  absl::StatusOr<ModelStatus> GetModel(absl::string_view name, int64_t version) const override;
  Stats Snapshot() const override;
  EngineHealth Health() const override { return watchdog_.Health(); }
  void Drain() override;

 private:
  // Why the request is refused before the work of tokenising, if it is.
  absl::Status CheckAcceptable(const ServedModel& served, const Request& request,
                               ModelCounters& counters) const;
  // Queues what became of a request's inputs, or answers if there is nothing to compute.
  void Submit(ServedModel& served, Call& call, TimePoint start, TimePoint deadline);

  // Counts a request as in flight, unless the engine is draining.
  bool Accept(const Request& request);
  void Leave(bool canary);
  std::vector<CanaryModel> ReadyModels() const;

  const EngineParts parts_;
  Clock& clock_;
  ModelSet models_;

  mutable Mutex mutex_;
  CondVar changed_;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of them.
  int64_t canaries_in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  // What canaries would have added to the counters of their model.
  ModelCounters uncounted_;

  const Workers workers_;
  DecodePool decode_pool_;
  const ImageDecoding decoding_;
  Watchdog watchdog_;
  // Ends before the workers do that it loads models onto.
  std::optional<ModelLoader> loader_;
};

}  // namespace contextpool::engine
