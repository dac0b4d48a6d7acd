// The engine: wires preprocess -> batching -> execution, and is all that the server sees of them.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/clock.h"
#include "engine/base/health.h"
#include "engine/base/options.h"
#include "engine/base/request.h"
#include "engine/base/response.h"
#include "engine/base/stats.h"

namespace contextpool::engine {

// What callers may know of one model.
struct ModelStatus {
  std::shared_ptr<const ModelInfo> info;  // name and version are always set
  ModelState state = ModelState::kLoading;
  // Why it failed; of a ready model, why a newer copy of it was refused.
  std::string reason;
  double load_seconds = 0;
};

struct TokenizeOptions {
  std::string model;
  int64_t version = 0;
  Truncation truncation = Truncation::kRight;
  bool add_special_tokens = true;
  // What the answer may take: each token counts for its text and kTokenizeBytesPerToken.
  int64_t max_bytes = std::numeric_limits<int64_t>::max();
};
// About what an id and the text beside it take here, in the message and on the wire together.
inline constexpr int64_t kTokenizeBytesPerToken = 100;

struct Tokenization {
  absl::Status status;
  std::vector<int32_t> ids;
  std::vector<std::string> tokens;
  int64_t tokens_seen = 0;
  bool truncated = false;
};

struct TokenizeResponse {
  std::shared_ptr<const ModelInfo> model;
  std::vector<Tokenization> results;
};

// Thread safe. Errors use the codes of absl::Status that equal gRPC's.
class Engine {
 public:
  using Callback = absl::AnyInvocable<void(absl::StatusOr<Response>)>;
  using LoadCallback = absl::AnyInvocable<void(absl::StatusOr<ModelStatus>)>;
  using UnloadCallback = absl::AnyInvocable<void(absl::Status)>;

  // Starts loading the models in the background and returns at once. A model that fails is
  // reported by its status; the others serve. `notes`, unless null, gets what the operator should
  // know of the devices, a line each. UNAVAILABLE, UNIMPLEMENTED: a device that is not there, with
  // what to do.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(EngineOptions options,
                                                        Clock& clock = Clock::Real(),
                                                        std::vector<std::string>* notes = nullptr);

  // Finishes accepted work, then stops.
  virtual ~Engine() = default;

  // Blocks until every model of the start is ready or failed.
  virtual void WaitUntilLoaded() = 0;

  // Loads the version that `spec` names, in the background, after the loads and unloads asked for
  // before. It is listed at once, and serves from the moment on at which it has passed its checks,
  // its golden.safetensors and a warm-up; `done` then gets it. If the version serves already, the
  // new copy takes the old one's place in one step: no request is refused, and those that found the
  // old copy finish on it. For that time both need memory.
  //
  // A version that cannot be loaded is listed as failed, with the reason, unless it serves already:
  // then it goes on serving, with the reason. `done` gets the error; UNAVAILABLE: draining. It is
  // called exactly once, from a thread of the engine's, and must not block.
  virtual void Load(ModelSpec spec, LoadCallback done) = 0;

  // Stops serving a version, after the loads and unloads asked for before: new requests get the
  // version that is then the default or, if they named this one, UNAVAILABLE; accepted ones are
  // finished. Once all of it is freed the version is no longer listed and `done` is called, as
  // Load's. NOT_FOUND: no such version. FAILED_PRECONDITION: it is being unloaded already.
  // UNAVAILABLE: draining.
  virtual void Unload(absl::string_view name, int64_t version, UnloadCallback done) = 0;

  // Answers the request through `done`, exactly once: results from the executor's thread, errors
  // also from this one, from the one that asks request.stop to stop, which must hold no lock that
  // `done` takes, or from one of the engine's. Tokenises in the calling thread. What the request's
  // views point to must live until then. `done` must not block.
  //
  // INVALID_ARGUMENT: the model does not offer the task or modality, has no ContextPool to explain,
  // or the request is larger than the whole queue. NOT_FOUND: no such model. UNAVAILABLE: loading,
  // failed, draining, or the running batch is long overdue. RESOURCE_EXHAUSTED: the queue is full,
  // or the answer would come too late; RetryDelay(status) says when to try again.
  // DEADLINE_EXCEEDED: the deadline passed in the queue. CANCELLED: request.stop was asked to stop.
  virtual void Infer(Request request, Callback done) = 0;

  // Texts are tokenised as Infer would. INVALID_ARGUMENT: the answer would take more than
  // `max_bytes`.
  virtual absl::StatusOr<TokenizeResponse> Tokenize(
      const TokenizeOptions& options, const std::vector<absl::string_view>& texts) = 0;

  // Sorted by name, then version.
  virtual std::vector<ModelStatus> ListModels() const = 0;
  virtual absl::StatusOr<ModelStatus> GetModel(absl::string_view name, int64_t version) const = 0;

  virtual Stats Snapshot() const = 0;

  // Whether every device still computes. Unhealthy from the moment on at which a batch or the pass
  // of a load has taken far longer than it may until it ends, while the engine's own requests to
  // idle models fail, and for good if an executor's thread ended, a device is lost or those
  // requests keep failing.
  virtual EngineHealth Health() const = 0;

  // Refuses new requests with UNAVAILABLE from now on, and blocks until the accepted ones are
  // answered.
  virtual void Drain() = 0;
};

}  // namespace contextpool::engine
