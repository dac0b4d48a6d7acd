// An engine for tests of the server: answers at once or when told, without a model.
#pragma once

#include <algorithm>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "engine/engine.h"
#include "tests/support/fake_models.h"

namespace contextpool::engine {

// By default an embedding model "encoder" with 4 dimensions and a classifier "classifier" with
// labels negative, neutral, positive. Row i of an answer is [i, 1, 2, 3] or the logits [0, 1, 2].
// Thread safe.
class FakeEngine : public FakeModels {
 public:
  FakeEngine() {
    AddModel("classifier", {"negative", "neutral", "positive"});
    AddModel("encoder", {});
  }

  ~FakeEngine() override { Release(); }

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

  Stats Snapshot() const override {
    Stats stats;
    for (const ModelStatus& status : ListModels()) {
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
    stats.devices = {{"cpu", 1.5}, {"cuda:0", 0}};
    MutexLock lock(mutex_);
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
    explanation.length = 3;
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

  mutable Mutex mutex_;
  CondVar changed_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::function<void(Response&)> edit_ ABSL_GUARDED_BY(mutex_);
  Request last_ ABSL_GUARDED_BY(mutex_);
  EngineHealth health_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<std::shared_ptr<Held>> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t most_held_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t requests_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t stopped_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace contextpool::engine
