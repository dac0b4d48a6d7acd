#include "engine/engine.h"

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "engine/device/cpu_device.h"
#include "engine/engine_impl.h"
#include "engine/explain.h"
#include "engine/model/file.h"
#include "engine/model/golden.h"

namespace contextpool::engine {
namespace {

constexpr int64_t kMaxTokenizerBytes = 128 << 20;

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const ModelSpec& spec) {
  absl::StatusOr<std::string> json =
      ReadWholeFile(spec.directory, "tokenizer.json", kMaxTokenizerBytes);
  if (!json.ok()) return json.status();
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromJson(*json);
  if (tokenizer.ok()) return tokenizer;
  return absl::Status(tokenizer.status().code(),
                      absl::StrCat("tokenizer.json: ", tokenizer.status().message()));
}

absl::Status AtInput(int32_t index, absl::string_view field, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("inputs[", index, "].", field, ": ", status.message()));
}

absl::Status CheckTokenIds(std::span<const int32_t> ids, const ModelInfo& info) {
  if (ids.empty()) return absl::InvalidArgumentError("holds no token id");
  if (ids.size() > static_cast<size_t>(info.max_tokens)) {
    return absl::InvalidArgumentError(absl::StrCat("holds ", ids.size(), " ids, the model reads ",
                                                   info.max_tokens,
                                                   " tokens; token ids are never truncated"));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= info.vocabulary_size) {
      return absl::InvalidArgumentError(absl::StrCat("ids[", i, "] is ", ids[i],
                                                     ", outside the vocabulary of ",
                                                     info.vocabulary_size, " tokens"));
    }
  }
  return absl::OkStatus();
}

// The modality of a request: images if it starts with one. What does not fit the model afterwards
// is that input's own error.
Modality ModalityOf(const Request& request) {
  return std::holds_alternative<ImageInput>(request.inputs.front()) ? Modality::kImage
                                                                    : Modality::kText;
}

int64_t BytesOf(const Request& request) {
  size_t bytes = 0;
  for (const Input& input : request.inputs) {
    if (const auto* text = std::get_if<TextInput>(&input)) bytes += text->utf8.size();
    if (const auto* ready = std::get_if<TokenIdsInput>(&input)) bytes += ready->ids.size_bytes();
  }
  return static_cast<int64_t>(bytes);
}

RejectReason ReasonOf(const absl::Status& status) {
  if (absl::IsInvalidArgument(status)) return RejectReason::kTooLarge;
  return absl::IsUnavailable(status) ? RejectReason::kDraining : RejectReason::kQueueFull;
}

absl::Status CheckFit(const ModelInfo& info, const Tokenizer& tokenizer,
                      const QueueOptions& queue) {
  if (tokenizer.vocabulary_size() > info.vocabulary_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tokenizer.json knows ", tokenizer.vocabulary_size(), " tokens, the model embeds ",
        info.vocabulary_size, " (vocab_size in config.json)"));
  }
  const int32_t added = tokenizer.prefix_tokens() + tokenizer.suffix_tokens();
  if (info.max_tokens <= added) {
    return absl::InvalidArgumentError(absl::StrCat("the model reads ", info.max_tokens,
                                                   " tokens, too few for the ", added,
                                                   " special tokens of tokenizer.json"));
  }
  if (info.max_tokens > queue.batch_token_budget) {
    return absl::InvalidArgumentError(absl::StrCat(
        "batching.token_budget is ", queue.batch_token_budget, ", less than the longest input of ",
        info.max_tokens, " tokens; raise it or lower max_tokens in serving.textproto"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(EngineOptions options, Clock& clock) try {
  absl::StatusOr<std::unique_ptr<Device>> device =
      CreateCpuDevice({.threads = options.cpu_threads, .isa = {}, .gemm = {}});
  if (!device.ok()) return device.status();
  EngineParts parts{*std::move(device), LoadModel, LoadTokenizer};
  return std::make_unique<EngineImpl>(std::move(options), std::move(parts), clock);
} catch (const std::exception& error) {
  return absl::ResourceExhaustedError(
      absl::StrCat("the engine could not start: ", error.what(), "; fewer --threads may help"));
}

EngineImpl::EngineImpl(EngineOptions options, EngineParts parts, Clock& clock)
    : parts_(std::move(parts)),
      clock_(clock),
      models_(std::move(options.models)),
      batcher_(clock),
      executor_(*parts_.device, clock) {
  executor_.Start([this](Batch& batch) { return batcher_.NextBatch(batch); });
  loader_ = std::thread([this] { LoadAll(); });
}

EngineImpl::~EngineImpl() {
  Drain();
  loader_.join();
  batcher_.Close();
}

void EngineImpl::LoadAll() {
  for (const auto& served : models_.all()) {
    if (stopping_) break;
    const TimePoint start = clock_.Now();
    const absl::Status status = LoadNoThrow(*served);
    const double seconds = Seconds(clock_.Now() - start);
    if (!status.ok()) {
      served->model.reset();
      models_.SetFailed(*served, status, seconds);
      continue;
    }
    auto info = std::make_shared<ModelInfo>(served->model->info());
    info->batch_token_budget = static_cast<int32_t>(served->spec.queue.batch_token_budget);
    models_.SetReady(*served, std::move(info), seconds);
  }
  MutexLock lock(mutex_);
  loaded_ = true;
  changed_.NotifyAll();
}

absl::Status EngineImpl::LoadNoThrow(ServedModel& served) try {
  return Load(served);
} catch (const std::bad_alloc&) {
  return absl::ResourceExhaustedError("there is not enough memory for this model");
} catch (const std::exception& error) {
  return absl::InternalError(absl::StrCat("loading ended unexpectedly: ", error.what()));
}

absl::Status EngineImpl::Load(ServedModel& served) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = parts_.load_tokenizer(served.spec);
  if (tokenizer.ok()) served.spec.prefix_tokens = (*tokenizer)->prefix_tokens();
  absl::StatusOr<std::unique_ptr<Model>> model = parts_.load_model(served.spec, *parts_.device);
  // What is wrong with the model says more than that there is no tokeniser. But a tokeniser that
  // could not be read may be all that is wrong with the model.
  if (!model.ok() && (tokenizer.ok() || absl::IsNotFound(tokenizer.status()))) {
    return model.status();
  }
  if (!tokenizer.ok()) return tokenizer.status();
  QueueOptions& queue = served.spec.queue;
  if (queue.batch_token_budget == 0) {
    queue.batch_token_budget =
        std::max<int64_t>(kDefaultBatchTokenBudget, (*model)->info().max_tokens);
  }
  if (absl::Status status = CheckFit((*model)->info(), **tokenizer, queue); !status.ok()) {
    return status;
  }
  absl::StatusOr<std::optional<GoldenFile>> golden = ReadGolden(served.spec, (*model)->info());
  if (!golden.ok()) return golden.status();
  served.model = *std::move(model);
  served.tokenizer = *std::move(tokenizer);
  served.queue = batcher_.AddQueue(queue);
  for (size_t i = 0; i < served.model->info().context_pool_layers.size(); ++i) {
    served.counters.context_pool.support_size.emplace_back(Histogram::SupportSizeBounds());
  }
  return executor_.AddModel(served.queue, *served.model,
                            {queue.batch_token_budget, queue.batch_max_inputs},
                            golden->has_value() ? &**golden : nullptr, served.counters);
}

void EngineImpl::WaitUntilLoaded() {
  MutexLock lock(mutex_);
  while (!loaded_) changed_.Wait(mutex_);
}

bool EngineImpl::Accept() {
  MutexLock lock(mutex_);
  if (draining_) return false;
  ++in_flight_;
  return true;
}

void EngineImpl::Leave() {
  MutexLock lock(mutex_);
  if (--in_flight_ == 0) changed_.NotifyAll();
}

void EngineImpl::Infer(Request request, Callback done) {
  if (request.inputs.empty()) return done(absl::InvalidArgumentError("inputs: there is none"));
  absl::StatusOr<ServedModel*> resolved =
      models_.Resolve(request.model, request.version, request.task, ModalityOf(request));
  if (!resolved.ok()) return done(resolved.status());
  ServedModel& served = **resolved;
  std::shared_ptr<const ModelInfo> info = models_.StatusOf(served).info;
  if (absl::Status status = CheckExplains(request, *info); !status.ok()) {
    return done(std::move(status));
  }
  if (absl::Status status = batcher_.CheckRoom(
          served.queue, static_cast<int64_t>(request.inputs.size()), BytesOf(request));
      !status.ok()) {
    served.counters.Count(ReasonOf(status));
    return done(std::move(status));
  }
  if (!Accept()) {
    served.counters.Count(RejectReason::kDraining);
    return done(absl::UnavailableError("the server is draining; ask another replica"));
  }
  auto* call = new Call(std::move(request), std::move(info), served.counters, std::move(done),
                        [this] { Leave(); });
  const TimePoint start = clock_.Now();
  Preprocess(served, *call);
  absl::Status status = PrepareExplanations(served, *call);
  call->response().timing.tokenize = clock_.Now() - start;
  served.counters.Observe(Stage::kTokenize, call->response().timing.tokenize);
  if (status.ok() && call->tasks().empty()) return call->AnswerNow(absl::OkStatus());
  // From here on the executor may answer, and delete, the call at any time.
  if (status.ok()) status = batcher_.Enqueue(served.queue, call->tasks());
  if (status.ok()) return;
  served.counters.Count(ReasonOf(status));
  call->AnswerNow(status);
}

void EngineImpl::Preprocess(ServedModel& served, Call& call) {
  const Request& request = call.request();
  Response& response = call.response();
  const auto inputs = static_cast<int32_t>(request.inputs.size());
  for (int32_t i = 0; i < inputs; ++i) {
    InputResult& result = response.results[i];
    result.status = AddTask(served, call, i);
    if (!result.status.ok()) continue;
    served.counters.input_tokens.Observe(result.tokens_used);
    if (result.truncated) ++served.counters.truncated_inputs;
  }
  // Ids of texts were appended to one block, which has stopped growing only now.
  const ModelInfo& info = *response.model;
  const int32_t* next = call.token_ids().data();
  const TimePoint deadline =
      request.deadline.value_or(clock_.Now() + served.spec.queue.default_deadline);
  for (Task& task : call.tasks()) {
    const auto tokens = static_cast<size_t>(response.results[task.index].tokens_used);
    if (task.token_ids.empty()) {
      task.token_ids = {next, tokens};
      next += tokens;
    }
    task.cost = static_cast<int64_t>(tokens);
    task.deadline = deadline;
    task.output = {request.task, request.pooling.value_or(info.pooling),
                   request.normalize.value_or(info.normalize), request.explain};
  }
}

absl::Status EngineImpl::AddTask(const ServedModel& served, Call& call, int32_t index) {
  const Request& request = call.request();
  const ModelInfo& info = *call.response().model;
  InputResult& result = call.response().results[index];
  const Input& input = request.inputs[index];
  if (const auto* ready = std::get_if<TokenIdsInput>(&input)) {
    if (absl::Status status = CheckTokenIds(ready->ids, info); !status.ok()) {
      return AtInput(index, "token_ids", status);
    }
    Task& task = call.AddTask(index);
    task.token_ids = ready->ids;
    task.bytes = static_cast<int64_t>(ready->ids.size_bytes());
    result.tokens_used = static_cast<int32_t>(ready->ids.size());
    result.tokens_seen = result.tokens_used;
    return absl::OkStatus();
  }
  if (std::holds_alternative<ImageInput>(input)) {
    return AtInput(index, "image", absl::InvalidArgumentError("the model reads text, not images"));
  }
  const auto& text = std::get<TextInput>(input);
  const EncodeOptions options{info.max_tokens, request.truncation, true};
  absl::StatusOr<EncodeSummary> summary =
      served.tokenizer->Encode(text.utf8, options, call.token_ids());
  if (!summary.ok()) return AtInput(index, "text", summary.status());
  result.tokens_used = summary->tokens_used;
  result.tokens_seen = summary->tokens_seen;
  result.truncated = summary->truncated;
  if (summary->tokens_used == 0) {
    return AtInput(index, "text", absl::InvalidArgumentError("has no token"));
  }
  call.AddTask(index).bytes = static_cast<int64_t>(text.utf8.size());
  return absl::OkStatus();
}

absl::StatusOr<TokenizeResponse> EngineImpl::Tokenize(const TokenizeOptions& options,
                                                      const std::vector<absl::string_view>& texts) {
  absl::StatusOr<ServedModel*> served =
      models_.Resolve(options.model, options.version, std::nullopt, Modality::kText);
  if (!served.ok()) return served.status();
  TokenizeResponse response;
  response.model = models_.StatusOf(**served).info;
  const Tokenizer& tokenizer = *(*served)->tokenizer;
  const EncodeOptions encode{response.model->max_tokens, options.truncation,
                             options.add_special_tokens};
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
    for (int32_t id : result.ids) result.tokens.emplace_back(tokenizer.TokenText(id));
  }
  return response;
}

std::vector<ModelStatus> EngineImpl::ListModels() const {
  std::vector<ModelStatus> statuses;
  for (const auto& served : models_.all()) statuses.push_back(models_.StatusOf(*served));
  return statuses;
}

absl::StatusOr<ModelStatus> EngineImpl::GetModel(absl::string_view name, int64_t version) const {
  absl::StatusOr<ServedModel*> served = models_.Find(name, version);
  if (!served.ok()) return served.status();
  return models_.StatusOf(**served);
}

Stats EngineImpl::Snapshot() const {
  Stats stats;
  for (const auto& served : models_.all()) {
    const ModelStatus status = models_.StatusOf(*served);
    ModelStats& model = stats.models.emplace_back(CountersSnapshot(served->counters));
    model.info = status.info;
    model.state = status.state;
    model.reason = status.reason;
    model.load_seconds = status.load_seconds;
    if (status.state != ModelState::kReady) continue;
    const QueueDepth depth = batcher_.Depth(served->queue);
    model.queue_inputs = depth.inputs;
    model.queue_tokens = depth.tokens;
    model.context_pool = CountersSnapshot(served->counters.context_pool);
  }
  MutexLock lock(mutex_);
  stats.requests_in_flight = in_flight_;
  return stats;
}

void EngineImpl::Drain() {
  stopping_ = true;  // models that are not loaded yet will not be needed
  MutexLock lock(mutex_);
  draining_ = true;
  while (in_flight_ > 0) changed_.Wait(mutex_);
}

}  // namespace contextpool::engine
