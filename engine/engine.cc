#include "engine/engine.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/device/cpu_count.h"
#include "engine/engine_impl.h"
#include "engine/explain.h"
#include "engine/image_inputs.h"
#include "engine/text_inputs.h"

namespace contextpool::engine {
namespace {

// The modality of a request: images if it starts with one. What does not fit the model afterwards
// is that input's own error.
Modality ModalityOf(const Request& request) {
  return std::holds_alternative<ImageInput>(request.inputs.front()) ? Modality::kImage
                                                                    : Modality::kText;
}

// Half of the CPUs: those that compute are busy too.
int DecodeThreads(const EngineOptions& options) {
  return options.decode_threads > 0 ? options.decode_threads : std::max(1, AvailableCpus() / 2);
}

// A model that brings images to no size takes none but those of its own, which canaries are not.
bool TakesAnyImage(const ModelInfo& info) {
  return !info.image || info.image->resizes() || info.image->center_crop;
}

// What the request's inputs will take while they wait: text, ids or pixels, task and row of the
// answer.
int64_t BytesOf(const Request& request, const ModelInfo& info) {
  const size_t pixels = info.image ? info.image->bytes() : 0;
  size_t bytes = request.inputs.size() * (Call::BytesPerTask(request.task, info) + pixels);
  for (const Input& input : request.inputs) {
    if (const auto* text = std::get_if<TextInput>(&input)) bytes += text->utf8.size();
    if (const auto* ready = std::get_if<TokenIdsInput>(&input)) bytes += ready->ids.size_bytes();
  }
  return static_cast<int64_t>(bytes);
}

absl::Status TooLongToShow(size_t last, size_t texts, int64_t max_bytes) {
  return absl::InvalidArgumentError(absl::StrCat(
      "texts: the tokens of the first ", last + 1, " of ", texts, " texts take more than the ",
      max_bytes, " bytes that one answer may; send fewer texts"));
}

absl::Status CheckPooling(const Request& request, const ModelInfo& info) {
  const Pooling pooling = request.pooling.value_or(info.pooling);
  if (info.pools(pooling)) return absl::OkStatus();
  const auto name = [](std::string* out, Pooling offered) { absl::StrAppend(out, Name(offered)); };
  return absl::InvalidArgumentError(
      absl::StrCat("options.pooling: the model \"", info.name, "\" does not offer ", Name(pooling),
                   "; it offers ", absl::StrJoin(info.poolings, ", ", name)));
}

// In the order of the devices.
Workers MakeWorkers(const EngineParts& parts, const QueueBounds& bounds, Clock& clock) {
  Workers workers;
  for (const auto& device : parts.devices) {
    workers.push_back(std::make_unique<Worker>(*device, bounds, clock));
  }
  return workers;
}

std::vector<WatchedDevice> Watched(const Workers& workers) {
  std::vector<WatchedDevice> watched;
  for (const auto& worker : workers) {
    watched.push_back({std::string(worker->device().name()), worker->steps()});
  }
  return watched;
}

}  // namespace

EngineImpl::EngineImpl(EngineOptions options, EngineParts parts, Clock& clock)
    : parts_(std::move(parts)),
      clock_(clock),
      models_(options.models),
      workers_(MakeWorkers(parts_, options.queue, clock)),
      decode_pool_(DecodeThreads(options)),
      decoding_{decode_pool_, options.image_limits, clock},
      watchdog_(
          options.canary_interval, Watched(workers_), clock,
          {[this] { return ReadyModels(); },
           [this](Request request, Callback done) { Infer(std::move(request), std::move(done)); },
           [this] { return decode_pool_.decoded(); }}) {
  loader_.emplace(std::move(options.models), parts_, clock_,
                  ModelLoader::Stages{models_, workers_});
  watchdog_.Start();
}

EngineImpl::~EngineImpl() {
  watchdog_.Stop();
  Drain();
}

bool EngineImpl::Accept(const Request& request) {
  MutexLock lock(mutex_);
  if (draining_) return false;
  ++in_flight_;
  canaries_in_flight_ += request.canary;
  return true;
}

void EngineImpl::Leave(bool canary) {
  MutexLock lock(mutex_);
  canaries_in_flight_ -= canary;
  if (--in_flight_ == 0) changed_.NotifyAll();
}

std::vector<CanaryModel> EngineImpl::ReadyModels() const {
  std::vector<CanaryModel> ready;
  for (const ModelListing& model : models_.All()) {
    if (model.serving == nullptr || !TakesAnyImage(*model.serving->info)) continue;
    ready.push_back({model.serving->info, model.counters, &model.serving->worker->steps()});
  }
  return ready;
}

absl::Status EngineImpl::CheckAcceptable(const ServedModel& served, const Request& request,
                                         ModelCounters& counters) const {
  if (absl::Status status = CheckPooling(request, *served.info); !status.ok()) return status;
  if (absl::Status status = CheckExplains(request, *served.info); !status.ok()) return status;
  if (!served.worker->steps().Health(clock_.Now()).healthy) {
    counters.Count(RejectReason::kUnhealthy);
    return absl::UnavailableError("the model's device does not answer now; ask another replica");
  }
  const auto inputs = static_cast<int64_t>(request.inputs.size());
  // Every image costs the same.
  const int64_t tokens = served.info->image ? inputs * served.info->max_tokens : 0;
  absl::Status status = served.worker->batcher().CheckRoom(served.queue, inputs, tokens,
                                                           BytesOf(request, *served.info));
  if (!status.ok()) counters.CountRefused(status, 1);
  return status;
}

void EngineImpl::Infer(Request request, Callback done) {
  if (request.inputs.empty()) return done(absl::InvalidArgumentError("inputs: there is none"));
  absl::StatusOr<std::shared_ptr<ServedModel>> resolved =
      models_.Resolve(request.model, request.version, request.task, ModalityOf(request));
  if (!resolved.ok()) return done(resolved.status());
  ServedModel& served = **resolved;
  ModelCounters& counters = request.canary ? uncounted_ : *served.counters;
  if (absl::Status status = CheckAcceptable(served, request, counters); !status.ok()) {
    return done(std::move(status));
  }
  if (!Accept(request)) {
    counters.Count(RejectReason::kDraining);
    return done(absl::UnavailableError("the server is draining; ask another replica"));
  }
  auto at_end = [this, canary = request.canary, served = *resolved]() mutable {
    served.reset();  // the loader, which frees it, may be gone after Leave
    Leave(canary);
  };
  auto* call =
      new Call(std::move(request), served.info, counters, std::move(done), std::move(at_end));
  const TimePoint start = clock_.Now();
  const TimePoint deadline =
      call->request().deadline.value_or(start + served.spec.queue.default_deadline);
  const auto submit = [this, &served, call, start, deadline] {
    Submit(served, *call, start, deadline);
  };
  if (served.image_processor != nullptr) {
    return DecodeImages(decoding_, served, *call, deadline, submit);
  }
  TokenizeInputs(served, *call);
  counters.Observe(Stage::kTokenize, clock_.Now() - start);
  submit();
}

void EngineImpl::Submit(ServedModel& served, Call& call, TimePoint start, TimePoint deadline) {
  absl::Status status = PrepareExplanations(served, call);
  call.response().timing.preprocess = clock_.Now() - start;
  if (status.ok() && served.cache && !call.request().canary) call.UseCache(*served.cache);
  if (status.ok() && call.tasks().empty()) return call.AnswerNow(absl::OkStatus());
  const auto inputs = static_cast<int64_t>(call.tasks().size());
  if (status.ok()) status = call.Queue(served.worker->batcher(), served.queue, deadline);
  if (status.ok()) return;
  call.counters().CountRefused(status, inputs);
  call.AnswerNow(status);
}

absl::StatusOr<TokenizeResponse> EngineImpl::Tokenize(const TokenizeOptions& options,
                                                      const std::vector<absl::string_view>& texts) {
  const absl::StatusOr<std::shared_ptr<ServedModel>> served =
      models_.Resolve(options.model, options.version, std::nullopt, Modality::kText);
  if (!served.ok()) return served.status();
  TokenizeResponse response;
  response.model = (*served)->info;
  const Tokenizer& tokenizer = *(*served)->tokenizer;
  const EncodeOptions encode{response.model->max_tokens, options.truncation,
                             options.add_special_tokens};
  int64_t bytes = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    Tokenization& result = response.results.emplace_back();
    absl::StatusOr<EncodeSummary> summary = tokenizer.Encode(texts[i], encode, result.ids);
    if (!summary.ok()) {
      result.status = absl::Status(summary.status().code(),
                                   absl::StrCat("texts[", i, "]: ", summary.status().message()));
      continue;
    }
    result.tokens_seen = summary->tokens_seen;
    result.truncated = summary->truncated;
    for (int32_t id : result.ids) {
      const absl::string_view token = result.tokens.emplace_back(tokenizer.TokenText(id));
      bytes += kTokenizeBytesPerToken + static_cast<int64_t>(token.size());
    }
    if (bytes > options.max_bytes) return TooLongToShow(i, texts.size(), options.max_bytes);
  }
  return response;
}

std::vector<ModelStatus> EngineImpl::ListModels() const {
  std::vector<ModelStatus> statuses;
  for (ModelListing& model : models_.All()) statuses.push_back(std::move(model.status));
  return statuses;
}

absl::StatusOr<ModelStatus> EngineImpl::GetModel(absl::string_view name, int64_t version) const {
  return models_.Find(name, version);
}

Stats EngineImpl::Snapshot() const {
  Stats stats;
  for (const auto& [status, counters, served] : models_.All(&stats.unloaded)) {
    ModelStats& model = stats.models.emplace_back(CountersSnapshot(*counters));
    model.info = status.info;
    model.state = status.state;
    model.reason = status.reason;
    model.load_seconds = status.load_seconds;
    model.context_pool = CountersSnapshot(counters->context_pool);
    if (served == nullptr) continue;
    const QueueDepth depth = served->worker->batcher().Depth(served->queue);
    model.queue_inputs = depth.inputs;
    model.queue_tokens = depth.tokens;
    model.queue_bytes = depth.bytes;
    model.expected_wait = depth.expected_wait;
    if (served->cache) model.cache_bytes = served->cache->bytes();
  }
  for (const auto& worker : workers_) {
    const Duration step = worker->steps().Running(clock_.Now()).value_or(Duration::zero());
    stats.devices.push_back({std::string(worker->device().name()), Seconds(step)});
  }
  MutexLock lock(mutex_);
  stats.requests_in_flight = in_flight_ - canaries_in_flight_;
  return stats;
}

void EngineImpl::Drain() {
  loader_->Stop();  // models that are not loaded yet will not be needed
  MutexLock lock(mutex_);
  draining_ = true;
  while (in_flight_ > 0) changed_.Wait(mutex_);
}

}  // namespace contextpool::engine
