#include "engine/model_loader.h"

#include <malloc.h>

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "engine/model/golden.h"

namespace contextpool::engine {
namespace {

absl::Status CheckFit(const ModelInfo& info, const Tokenizer& tokenizer) {
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
  return absl::OkStatus();
}

// What is wrong with the model says more than that there is no tokeniser. But a tokeniser that
// could not be read may be all that is wrong with a model of texts, and nothing to one of images.
absl::Status WhyNeither(const absl::Status& model, const absl::Status& tokenizer) {
  if (tokenizer.ok() || absl::IsNotFound(tokenizer)) return model;
  return absl::Status(model.code(), absl::StrCat(model.message(), "; and ", tokenizer.message()));
}

absl::Status CheckBudget(const ModelInfo& info, const QueueOptions& queue) {
  if (info.image && info.image->bytes() > queue.max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("queue.max_bytes is ", queue.max_bytes,
                                                   ", less than the ", info.image->bytes(),
                                                   " bytes of one image; raise it in"
                                                   " serving.textproto"));
  }
  const int64_t least = std::min(queue.batch_token_budget, queue.max_tokens);
  if (info.max_tokens <= least) return absl::OkStatus();
  const bool image = info.image.has_value();
  return absl::InvalidArgumentError(
      absl::StrCat(least < queue.batch_token_budget ? "queue.max_tokens" : "batching.token_budget",
                   " is ", least, ", less than the ", image ? "" : "longest input of ",
                   info.max_tokens, " tokens", image ? " of an image" : "", "; raise it",
                   image ? "" : " or lower the model's max_tokens", " in serving.textproto"));
}

}  // namespace

ModelLoader::ModelLoader(std::vector<ModelSpec> specs, const EngineParts& parts, Clock& clock,
                         Stages stages)
    : parts_(parts), clock_(clock), stages_(stages) {
  // In the order in which they are listed.
  std::sort(specs.begin(), specs.end(), [](const ModelSpec& a, const ModelSpec& b) {
    return std::tie(a.name, a.version) < std::tie(b.name, b.version);
  });
  for (ModelSpec& spec : specs) Load(std::move(spec), [](const auto&) {});
  Add([this](const absl::Status&) {
    stages_.models.EndStart();
    MutexLock lock(mutex_);
    started_ = true;
    changed_.NotifyAll();
  });
  thread_ = std::thread([this] { Loop(); });
}

ModelLoader::~ModelLoader() {
  Stop();
  {
    MutexLock lock(mutex_);
    // After the job that runs, whose model must go too.
    jobs_.emplace_back([this](const absl::Status&) { stages_.models.Clear(); });
    ending_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void ModelLoader::Load(ModelSpec spec, Engine::LoadCallback done) {
  Add([this, spec = std::move(spec), done = std::move(done)](absl::Status go) mutable {
    if (!go.ok()) return done(std::move(go));
    done(LoadNow(std::move(spec)));
  });
}

void ModelLoader::Unload(const ModelVersion& version, Engine::UnloadCallback done) {
  Add([this, version, done = std::move(done)](absl::Status go) mutable {
    if (!go.ok()) return done(std::move(go));
    UnloadNow(version, std::move(done));
  });
}

void ModelLoader::WaitUntilStarted() {
  MutexLock lock(mutex_);
  while (!started_) changed_.Wait(mutex_);
}

void ModelLoader::Add(Job job) {
  {
    MutexLock lock(mutex_);
    if (!stopping_) {
      jobs_.push_back(std::move(job));
      changed_.NotifyAll();
      return;
    }
  }
  job(absl::UnavailableError("the server is draining; ask another replica"));
}

void ModelLoader::Stop() {
  std::deque<Job> jobs;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    jobs.swap(jobs_);
  }
  for (Job& job : jobs) job(absl::UnavailableError("the server is draining; ask another replica"));
}

void ModelLoader::Loop() {
  std::unique_ptr<ServedModel> unused;
  Job job;
  while (Next(unused, job)) {
    if (unused != nullptr) {
      Free(std::move(unused));
    } else {
      job(absl::OkStatus());
    }
  }
}

bool ModelLoader::Next(std::unique_ptr<ServedModel>& unused, Job& job) {
  job = nullptr;
  MutexLock lock(mutex_);
  while (unused_.empty() && jobs_.empty()) {
    if (ending_ && shared_ == 0) return false;
    changed_.Wait(mutex_);
  }
  if (!unused_.empty()) {
    unused = std::move(unused_.back());
    unused_.pop_back();
  } else {
    job = std::move(jobs_.front());
    jobs_.pop_front();
  }
  return true;
}

absl::StatusOr<ModelStatus> ModelLoader::LoadNow(ModelSpec spec) {
  const ModelVersion version(spec.name, spec.version);
  stages_.models.SetLoading(version);
  const TimePoint start = clock_.Now();
  absl::StatusOr<std::shared_ptr<ServedModel>> served = PrepareNoThrow(spec);
  const double seconds = Seconds(clock_.Now() - start);
  if (!served.ok()) {
    stages_.models.SetFailed(version, served.status(), seconds);
    return served.status();
  }
  ModelStatus status{(*served)->info, ModelState::kReady, "", seconds};
  stages_.models.SetReady(*std::move(served), seconds);
  return status;
}

void ModelLoader::UnloadNow(const ModelVersion& version, Engine::UnloadCallback done) {
  absl::StatusOr<std::shared_ptr<ServedModel>> served = stages_.models.SetUnloading(version);
  if (!served.ok()) return done(served.status());
  if (*served != nullptr) {
    unloads_[served->get()] = std::move(done);
    return;  // Free goes on from here
  }
  stages_.models.Erase(version);
  done(absl::OkStatus());
}

absl::StatusOr<std::shared_ptr<ServedModel>> ModelLoader::PrepareNoThrow(
    const ModelSpec& spec) try {
  absl::StatusOr<std::unique_ptr<ServedModel>> served = Prepare(spec);
  if (!served.ok()) return served.status();
  return Share(*std::move(served));
} catch (const std::bad_alloc&) {
  return absl::ResourceExhaustedError("there is not enough memory for this model");
} catch (const std::exception& error) {
  return absl::InternalError(absl::StrCat("loading ended unexpectedly: ", error.what()));
}

absl::StatusOr<std::unique_ptr<ServedModel>> ModelLoader::Prepare(const ModelSpec& spec) {
  const absl::StatusOr<std::vector<Worker*>> places = PlacesFor(spec, stages_.workers);
  if (!places.ok()) return places.status();
  absl::StatusOr<std::unique_ptr<ServedModel>> served;
  std::string passed_over;
  for (Worker* worker : *places) {
    served = PrepareOn(*worker, spec, passed_over);
    if (!served.ok()) worker->executor().CheckDevice();
    if (!absl::IsUnimplemented(served.status())) break;
    passed_over = std::string(served.status().message());
  }
  return served;
}

absl::StatusOr<std::unique_ptr<ServedModel>> ModelLoader::PrepareOn(Worker& worker, ModelSpec spec,
                                                                    std::string passed_over) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = parts_.load_tokenizer(spec);
  if (tokenizer.ok()) spec.prefix_tokens = (*tokenizer)->prefix_tokens();
  absl::StatusOr<std::unique_ptr<Model>> model = parts_.load_model(spec, worker.device());
  if (!model.ok()) return WhyNeither(model.status(), tokenizer.status());
  auto info = std::make_shared<ModelInfo>((*model)->info());
  info->passed_over = std::move(passed_over);
  QueueOptions& queue = spec.queue;
  if (queue.batch_token_budget == 0) {
    queue.batch_token_budget = std::max<int64_t>(
        std::min(worker.device().batch_token_budget(), queue.max_tokens), info->max_tokens);
  }
  if (absl::Status status = CheckBudget(*info, queue); !status.ok()) return status;
  info->batch_token_budget = static_cast<int32_t>(queue.batch_token_budget);
  auto served = std::make_unique<ServedModel>();
  if (info->image) {
    served->image_processor = std::make_unique<ImageProcessor>(*info->image);
  } else {
    if (!tokenizer.ok()) return tokenizer.status();
    if (absl::Status status = CheckFit(*info, **tokenizer); !status.ok()) return status;
    served->tokenizer = *std::move(tokenizer);
  }
  served->counters = stages_.models.CountersFor(*info);
  served->info = std::move(info);
  served->model = *std::move(model);
  if (queue.result_cache_bytes > 0) {
    served->cache = std::make_unique<ResultCache>(queue.result_cache_bytes);
  }
  served->spec = std::move(spec);
  served->worker = &worker;
  if (absl::Status status = AddToWorker(*served); !status.ok()) return status;
  return served;
}

absl::Status ModelLoader::AddToWorker(ServedModel& served) {
  absl::StatusOr<std::optional<GoldenFile>> golden = ReadGolden(served.spec, *served.info);
  if (!golden.ok()) return golden.status();
  const QueueOptions& options = served.spec.queue;
  Worker& worker = *served.worker;
  served.queue = worker.batcher().AddQueue(options);
  absl::Cleanup remove = [&] { worker.batcher().RemoveQueue(served.queue); };
  absl::StatusOr<Executor::StepTime> warm_up = worker.executor().AddModel(
      served.queue, *served.model, {options.batch_token_budget, options.batch_max_inputs},
      golden->has_value() ? &**golden : nullptr, *served.counters);
  if (!warm_up.ok()) return warm_up.status();
  worker.batcher().Teach(served.queue, warm_up->tokens, warm_up->took);
  worker.load.weight_bytes += served.info->weight_bytes;
  ++worker.load.models;
  std::move(remove).Cancel();
  return absl::OkStatus();
}

std::shared_ptr<ServedModel> ModelLoader::Share(std::unique_ptr<ServedModel> served) {
  {
    MutexLock lock(mutex_);
    unused_.reserve(++shared_);  // coming back must not fail
  }
  return std::shared_ptr<ServedModel>(served.release(), [this](ServedModel* unused) {
    MutexLock lock(mutex_);
    --shared_;
    unused_.emplace_back(unused);
    // Under the lock: once it is free this loader may be gone.
    changed_.NotifyAll();
  });
}

void ModelLoader::Free(std::unique_ptr<ServedModel> served) {
  Worker& worker = *served->worker;
  worker.executor().RemoveModel(served->queue);
  worker.batcher().RemoveQueue(served->queue);
  worker.load.weight_bytes -= served->info->weight_bytes;
  --worker.load.models;
  Engine::UnloadCallback done;
  if (const auto unload = unloads_.find(served.get()); unload != unloads_.end()) {
    done = std::move(unload->second);
    unloads_.erase(unload);
  }
  const ModelVersion version = served->version();
  served.reset();
#ifdef __GLIBC__
  // The allocator would keep much of it: loading left many small pieces between the large ones.
  malloc_trim(0);
#endif
  if (done == nullptr) return;
  stages_.models.Erase(version);
  done(absl::OkStatus());
}

}  // namespace contextpool::engine
