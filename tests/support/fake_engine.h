// An engine for tests of the server: answers at once or when told, without a model.
#pragma once

#include <algorithm>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "engine/engine.h"

namespace contextpool::engine {

// By default an embedding model "encoder" with 4 dimensions and a classifier "classifier" with
// labels negative, neutral, positive. Row i of an answer is [i, 1, 2, 3] or the logits [0, 1, 2].
// Thread safe.
class FakeEngine : public Engine {
 public:
  FakeEngine() {
    AddModel("classifier", {"negative", "neutral", "positive"});
    AddModel("encoder", {});
  }

  ~FakeEngine() override { Release(); }

  // `edit` changes what is known of the model before anybody can see it.
  const ModelInfo& AddModel(
      const std::string& name, std::vector<std::string> labels,
      const std::function<void(ModelInfo&)>& edit = [](ModelInfo&) {}) {
    const auto info = NewInfo({name, 1}, std::move(labels));
    edit(*info);
    MutexLock lock(mutex_);
    models_[{name, 1}] = {info, ModelState::kReady, "", 0.5};
    return *info;
  }

  void SetState(const std::string& name, ModelState state, const std::string& reason) {
    MutexLock lock(mutex_);
    models_[{name, 1}].state = state;
    models_[{name, 1}].reason = reason;
  }

  // Every request is answered with this error.
  void FailWith(absl::Status status) {
    MutexLock lock(mutex_);
    failure_ = std::move(status);
  }

  // Changes each answer before it is given.
  void EditResponses(std::function<void(Response&)> edit) {
    MutexLock lock(mutex_);
    edit_ = std::move(edit);
  }

  // Answers wait for Release, or until their caller gives up.
  void Hold() {
    MutexLock lock(mutex_);
    hold_ = true;
  }

  // Answers what waits, in order, and from now on at once.
  void Release() {
    std::list<std::shared_ptr<Held>> waiting;
    {
      MutexLock lock(mutex_);
      hold_ = false;
      waiting.swap(waiting_);
      changed_.NotifyAll();
    }
    for (const auto& held : waiting) held->done(Answer(held->request));
  }

  // Answers the request that came last of those that wait.
  void ReleaseLast() {
    std::shared_ptr<Held> held;
    {
      MutexLock lock(mutex_);
      held = std::move(waiting_.back());
      waiting_.pop_back();
      changed_.NotifyAll();
    }
    held->done(Answer(held->request));
  }

  // Blocks until so many requests are held.
  void WaitForHeld(size_t count) {
    MutexLock lock(mutex_);
    while (waiting_.size() < count) changed_.Wait(mutex_);
  }

  // Blocks until so many requests have come.
  void WaitForRequests(int64_t count) {
    MutexLock lock(mutex_);
    while (requests_ < count) changed_.Wait(mutex_);
  }

  // Blocks until draining has begun.
  void WaitForDrain() {
    MutexLock lock(mutex_);
    while (!draining_) changed_.Wait(mutex_);
  }

  // Blocks until so many requests have been answered because their caller gave up.
  void WaitForStopped(int64_t count) {
    MutexLock lock(mutex_);
    while (stopped_ < count) changed_.Wait(mutex_);
  }

  // Requests so far, and how many of them waited at one time at most.
  int64_t requests() const {
    MutexLock lock(mutex_);
    return requests_;
  }
  size_t most_held() const {
    MutexLock lock(mutex_);
    return most_held_;
  }

  // What the last request asked for; its views are not to be used.
  Request last_request() const {
    MutexLock lock(mutex_);
    return last_;
  }

  void WaitUntilLoaded() override {}

  // Lists the version as ready or, as FailLoadsWith said, as failed unless it is ready.
  void Load(ModelSpec spec, LoadCallback done) override {
    {
      MutexLock lock(mutex_);
      ++loads_;
      changed_.NotifyAll();
      if (hold_loads_) {
        held_loads_.emplace_back([this, spec = std::move(spec), done = std::move(done)]() mutable {
          FinishLoad(spec, std::move(done));
        });
        return;
      }
    }
    FinishLoad(spec, std::move(done));
  }

  // Loads wait for ReleaseLoads.
  void HoldLoads() {
    MutexLock lock(mutex_);
    hold_loads_ = true;
  }
  void ReleaseLoads() {
    std::vector<absl::AnyInvocable<void()>> waiting;
    {
      MutexLock lock(mutex_);
      hold_loads_ = false;
      waiting.swap(held_loads_);
    }
    for (auto& load : waiting) load();
  }
  // Blocks until so many loads have been asked for.
  void WaitForLoads(int64_t count) {
    MutexLock lock(mutex_);
    while (loads_ < count) changed_.Wait(mutex_);
  }

  void Unload(absl::string_view name, int64_t version, UnloadCallback done) override {
    bool found = false;
    {
      MutexLock lock(mutex_);
      found = models_.erase({std::string(name), version}) > 0;
    }
    done(found ? absl::OkStatus() : absl::NotFoundError("no such version"));
  }

  // Loads asked for so far.
  int64_t loads() const {
    MutexLock lock(mutex_);
    return loads_;
  }

  void FailLoadsWith(absl::Status status) {
    MutexLock lock(mutex_);
    load_failure_ = std::move(status);
  }

  void Infer(Request request, Callback done) override {
    auto held = std::make_shared<Held>(std::move(request), std::move(done));
    bool wait = false;
    absl::Status refusal;
    {
      MutexLock lock(mutex_);
      ++requests_;
      changed_.NotifyAll();
      last_ = held->request;
      if (draining_) refusal = absl::UnavailableError("the server is draining");
      wait = hold_ && refusal.ok();
      if (wait) {
        waiting_.push_back(held);
        most_held_ = std::max(most_held_, waiting_.size());
      }
    }
    if (!refusal.ok()) return held->done(std::move(refusal));
    if (!wait) return held->done(Answer(held->request));
    // May run at once. The request itself waits in the list, whose end ends this callback.
    held->on_stop.emplace(held->request.stop, [this, key = held.get()] { Stop(key); });
  }

  absl::StatusOr<TokenizeResponse> Tokenize(const TokenizeOptions& options,
                                            const std::vector<absl::string_view>& texts) override {
    absl::StatusOr<ModelStatus> model = GetModel(options.model, options.version);
    if (!model.ok()) return model.status();
    TokenizeResponse response;
    response.model = model->info;
    int64_t bytes = 0;
    for (const absl::string_view text : texts) {
      Tokenization result;
      result.ids = {101, static_cast<int32_t>(text.size()), 102};
      result.tokens = {"[CLS]", std::string(text), "[SEP]"};
      result.tokens_seen = 3;
      if (text == "bad") result.status = absl::InvalidArgumentError("too long");
      response.results.push_back(std::move(result));
      bytes += 3 * kTokenizeBytesPerToken + static_cast<int64_t>(text.size());
    }
    if (bytes > options.max_bytes) return absl::InvalidArgumentError("texts: too many tokens");
    return response;
  }

  std::vector<ModelStatus> ListModels() const override {
    MutexLock lock(mutex_);
    std::vector<ModelStatus> result;
    for (const auto& [name, status] : models_) result.push_back(status);
    return result;
  }

  absl::StatusOr<ModelStatus> GetModel(absl::string_view name, int64_t version) const override {
    MutexLock lock(mutex_);
    const ModelStatus* found = nullptr;
    for (const auto& [key, status] : models_) {
      if (key.first != name || (version != 0 && version != key.second)) continue;
      if (found == nullptr || status.state == ModelState::kReady) found = &status;
    }
    if (found != nullptr) return *found;
    return absl::NotFoundError(absl::StrCat("model \"", name, "\" is unknown"));
  }

  Stats Snapshot() const override {
    MutexLock lock(mutex_);
    Stats stats;
    for (const auto& [name, status] : models_) {
      ModelStats model;
      model.info = status.info;
      model.state = status.state;
      model.load_seconds = status.load_seconds;
      model.truncated_inputs = 7;
      model.canaries = {5, 6, 7};
      model.queue_tokens = {11, 12};
      for (size_t i = 0; i < status.info->context_pool_layers.size(); ++i) {
        Histogram sizes(Histogram::SupportSizeBounds());
        sizes.Observe(2.5);
        model.context_pool.support_size.push_back(sizes.Snapshot());
        model.context_pool.computed_tiles = 3;
        model.context_pool.skipped_tiles = 9;
        model.context_pool.skipped_tiles_ratio = 0.5;
      }
      stats.models.push_back(std::move(model));
    }
    stats.step_seconds = 1.5;
    stats.requests_in_flight = static_cast<int64_t>(waiting_.size());
    return stats;
  }

  EngineHealth Health() const override {
    MutexLock lock(mutex_);
    return health_;
  }
  void SetHealth(EngineHealth health) {
    MutexLock lock(mutex_);
    health_ = std::move(health);
  }

  void Drain() override {
    MutexLock lock(mutex_);
    draining_ = true;
    changed_.NotifyAll();
    while (!waiting_.empty()) changed_.Wait(mutex_);
  }

 private:
  struct Held {
    Held(Request request_in, Callback done_in)
        : request(std::move(request_in)), done(std::move(done_in)) {}

    Request request;
    Callback done;
    std::optional<std::stop_callback<std::function<void()>>> on_stop;
  };

  void Stop(const Held* key) {
    std::shared_ptr<Held> held;
    {
      MutexLock lock(mutex_);
      const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                      [key](const auto& one) { return one.get() == key; });
      if (found == waiting_.end()) return;
      held = *found;
      waiting_.erase(found);
    }
    held->done(absl::CancelledError("the caller gave up"));
    MutexLock lock(mutex_);
    ++stopped_;
    changed_.NotifyAll();
  }

  // Of layer l (by its place) the weights 10 l + 0, 1, 2 and the support sizes 10 l + 3, 4, 5.
  static Explanation Explain(const ModelInfo& info) {
    Explanation explanation;
    explanation.tokens = {"[CLS]", "word", "[SEP]"};
    for (size_t i = 0; i < info.context_pool_layers.size() * 6; ++i) {
      explanation.context_pool.push_back(static_cast<float>(i / 6 * 10 + i % 6));
    }
    return explanation;
  }

  absl::StatusOr<Response> Answer(const Request& request) {
    std::function<void(Response&)> edit;
    {
      MutexLock lock(mutex_);
      if (!failure_.ok()) return failure_;
      edit = edit_;
    }
    const bool classify = request.task == TaskKind::kClassify;
    const std::string fallback = classify ? "classifier" : "encoder";
    absl::StatusOr<ModelStatus> model =
        GetModel(request.model.empty() ? fallback : request.model, request.version);
    if (!model.ok()) return model.status();
    if (classify && !model->info->classifies()) {
      return absl::InvalidArgumentError(
          absl::StrCat("model ", model->info->name, " does not classify"));
    }
    Response response;
    response.model = model->info;
    response.width = classify ? static_cast<int32_t>(model->info->labels.size())
                              : model->info->embedding_dimensions;
    for (size_t i = 0; i < request.inputs.size(); ++i) {
      response.results.push_back({absl::OkStatus(), 3, 3, false});
      if (request.explain) response.explanations.push_back(Explain(*model->info));
      for (int32_t k = 0; k < response.width; ++k) {
        response.values.push_back(static_cast<float>(k == 0 && !classify ? i : k));
      }
    }
    if (edit) edit(response);
    return response;
  }

  using Key = std::pair<std::string, int64_t>;  // name and version

  static std::shared_ptr<ModelInfo> NewInfo(const Key& key, std::vector<std::string> labels) {
    auto info = std::make_shared<ModelInfo>();
    std::tie(info->name, info->version) = key;
    info->architecture = "Fake";
    info->embedding_dimensions = 4;
    info->max_tokens = 8;
    info->device = "cpu";
    info->labels = std::move(labels);
    if (info->classifies()) info->problem_type = ProblemType::kSingleLabel;
    return info;
  }

  void FinishLoad(const ModelSpec& spec, LoadCallback done) {
    const Key key(spec.name, spec.version);
    absl::Status failure;
    {
      MutexLock lock(mutex_);
      failure = load_failure_;
      if (!failure.ok() && models_.count(key) == 0) {
        models_[key] = {NewInfo(key, {}), ModelState::kFailed, std::string(failure.message()), 0};
      }
      if (failure.ok()) models_[key] = {NewInfo(key, {}), ModelState::kReady, "", 0.5};
    }
    if (!failure.ok()) return done(failure);
    done(GetModel(spec.name, spec.version));
  }

  mutable Mutex mutex_;
  CondVar changed_;
  std::map<Key, ModelStatus> models_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  absl::Status load_failure_ ABSL_GUARDED_BY(mutex_);
  std::function<void(Response&)> edit_ ABSL_GUARDED_BY(mutex_);
  Request last_ ABSL_GUARDED_BY(mutex_);
  EngineHealth health_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<std::shared_ptr<Held>> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t most_held_ ABSL_GUARDED_BY(mutex_) = 0;
  bool hold_loads_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<absl::AnyInvocable<void()>> held_loads_ ABSL_GUARDED_BY(mutex_);
  int64_t loads_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t requests_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t stopped_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace contextpool::engine
