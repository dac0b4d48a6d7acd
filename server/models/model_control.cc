#include "server/models/model_control.h"

#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/mutex.h"
#include "server/config/repository.h"

namespace contextpool::server {
namespace {

ModelKey KeyOf(const engine::ModelSpec& spec) { return {spec.name, spec.version}; }

// What the repository has instead of what was asked for.
absl::Status NotInRepository(absl::string_view name, const Repository& has) {
  std::vector<std::string> versions;
  for (const auto* specs : {&has.models, &has.unchosen}) {
    for (const engine::ModelSpec& spec : *specs) {
      if (spec.name == name) versions.push_back(absl::StrCat(spec.version));
    }
  }
  if (!versions.empty()) {
    return absl::NotFoundError(absl::StrCat("model.version: the repository has of this model: ",
                                            absl::StrJoin(versions, ", ")));
  }
  std::set<std::string> names;
  for (const engine::ModelSpec& spec : has.models) names.insert(spec.name);
  return absl::NotFoundError(
      absl::StrCat("model.name: the repository has no model of this name; it has ",
                   names.empty() ? "none" : absl::StrJoin(names, ", ")));
}

// What an operator is told of a load that failed. The engine's codes speak of files and tensors,
// where NOT_FOUND or INVALID_ARGUMENT would seem to speak of the call.
absl::Status ForOperator(const ModelKey& model, const absl::Status& status) {
  if (absl::IsUnavailable(status) || absl::IsResourceExhausted(status)) return status;
  return absl::FailedPreconditionError(absl::StrCat("model ", model.first, " version ",
                                                    model.second,
                                                    " could not be loaded: ", status.message()));
}

absl::Status CheckNamed(absl::string_view name) {
  return name.empty() ? absl::InvalidArgumentError("model.name: is empty; name the model")
                      : absl::OkStatus();
}

// The answer to several unloads: once all are done, the first error.
class AllUnloaded {
 public:
  AllUnloaded(size_t count, engine::Engine::UnloadCallback done)
      : done_(std::move(done)), open_(count) {}

  void Add(const absl::Status& status) {
    {
      engine::MutexLock lock(mutex_);
      first_.Update(status);
      if (--open_ > 0) return;
    }
    done_(first_);
  }

 private:
  engine::Engine::UnloadCallback done_;
  engine::Mutex mutex_;
  size_t open_;
  absl::Status first_;
};

}  // namespace

void LogModel(Logger& logger, const engine::ModelStatus& model) {
  if (model.state == engine::ModelState::kReady) {
    logger.Log(LogLevel::kInfo, "model ready",
               {{"model", model.info->name},
                {"version", model.info->version},
                {"architecture", model.info->architecture},
                {"device", model.info->device},
                {"dtype", absl::string_view(kernels::Name(model.info->dtype))},
                {"seconds", model.load_seconds}});
    if (!model.info->passed_over.empty()) {
      logger.Log(LogLevel::kWarning, "another device does not compute this model",
                 {{"model", model.info->name},
                  {"version", model.info->version},
                  {"reason", model.info->passed_over}});
    }
    return;
  }
  logger.Log(
      LogLevel::kError, "model failed",
      {{"model", model.info->name}, {"version", model.info->version}, {"reason", model.reason}});
}

ModelControl::ModelControl(std::vector<std::string> repositories, engine::Engine& engine,
                           ServerMetrics& metrics, Logger& logger)
    : repositories_(std::move(repositories)), engine_(engine), metrics_(metrics), logger_(logger) {}

absl::StatusOr<engine::ModelSpec> ModelControl::Find(absl::string_view name,
                                                     int64_t version) const {
  const RepositoryScan scan = ScanRepository(repositories_);
  const engine::ModelSpec* found = nullptr;
  for (const engine::ModelSpec& spec : scan.repository.models) {
    if (spec.name == name && (version == 0 || version == spec.version)) found = &spec;
  }
  for (const engine::ModelSpec& spec : scan.repository.unchosen) {
    if (spec.name == name && version == spec.version) found = &spec;
  }
  if (found != nullptr) return *found;
  for (const RepositoryFault& fault : scan.faults) {
    if (fault.model.empty() || fault.model == name) {
      return absl::FailedPreconditionError(WithoutLocations(fault.status.message(), repositories_));
    }
  }
  return NotInRepository(name, scan.repository);
}

void ModelControl::LoadModel(absl::string_view name, int64_t version, LoadCallback done) {
  if (absl::Status status = CheckNamed(name); !status.ok()) return done(std::move(status));
  absl::StatusOr<engine::ModelSpec> spec = Find(name, version);
  if (!spec.ok()) return done(spec.status());
  absl::StatusOr<engine::ModelStatus> listed = engine_.GetModel(spec->name, spec->version);
  if (listed.ok() && listed->state == engine::ModelState::kReady) return done(std::move(listed));
  LoadForOperator(*std::move(spec), std::move(done));
}

void ModelControl::ReloadModel(absl::string_view name, int64_t version, LoadCallback done) {
  if (absl::Status status = CheckNamed(name); !status.ok()) return done(std::move(status));
  const absl::StatusOr<engine::ModelStatus> listed = engine_.GetModel(name, version);
  if (!listed.ok()) return done(listed.status());
  absl::StatusOr<engine::ModelSpec> spec = Find(name, listed->info->version);
  if (!spec.ok()) return done(spec.status());
  LoadForOperator(*std::move(spec), std::move(done));
}

void ModelControl::LoadForOperator(engine::ModelSpec spec, LoadCallback done) {
  const ModelKey key = KeyOf(spec);
  Load(std::move(spec), [key, done = std::move(done)](auto model) mutable {
    if (!model.ok()) return done(ForOperator(key, model.status()));
    done(std::move(model));
  });
}

void ModelControl::UnloadModel(absl::string_view name, int64_t version, UnloadCallback done) {
  if (absl::Status status = CheckNamed(name); !status.ok()) return done(std::move(status));
  std::vector<ModelKey> keys;
  if (version != 0) keys.emplace_back(std::string(name), version);
  if (version == 0) {
    for (const engine::ModelStatus& model : engine_.ListModels()) {
      if (model.info->name == name) keys.emplace_back(model.info->name, model.info->version);
    }
    if (keys.empty()) return done(engine_.GetModel(name, 0).status());
  }
  auto all = std::make_shared<AllUnloaded>(keys.size(), std::move(done));
  for (const ModelKey& key : keys) {
    Unload(key, [all](const absl::Status& status) { all->Add(status); });
  }
}

void ModelControl::Load(engine::ModelSpec spec, LoadCallback done) {
  const ModelKey key = KeyOf(spec);
  metrics_.Add(key);
  engine_.Load(std::move(spec), [this, key, done = std::move(done)](auto model) mutable {
    if (model.ok()) {
      metrics_.Add(key);  // an unload asked for before may have ended since
      LogModel(logger_, *model);
    } else {
      LogFailure(key, model.status());
    }
    done(std::move(model));
  });
}

void ModelControl::LogFailure(const ModelKey& model, const absl::Status& why) {
  if (absl::IsUnavailable(why)) return;  // draining
  const absl::StatusOr<engine::ModelStatus> serving = engine_.GetModel(model.first, 0);
  if (serving.ok() && serving->state == engine::ModelState::kReady) {
    logger_.Log(LogLevel::kError, "model failed; what was loaded before still serves",
                {{"model", model.first},
                 {"version", model.second},
                 {"reason", why.message()},
                 {"serving_version", serving->info->version}});
    return;
  }
  logger_.Log(LogLevel::kError, "model failed",
              {{"model", model.first}, {"version", model.second}, {"reason", why.message()}});
}

void ModelControl::Unload(const ModelKey& model, UnloadCallback done) {
  engine_.Unload(model.first, model.second,
                 [this, model, done = std::move(done)](absl::Status status) mutable {
                   if (status.ok()) {
                     // It may have been loaded again meanwhile.
                     const bool listed = engine_.GetModel(model.first, model.second).ok();
                     if (!listed) metrics_.Retire(model);
                     logger_.Log(LogLevel::kInfo, "model unloaded",
                                 {{"model", model.first}, {"version", model.second}});
                   }
                   done(std::move(status));
                 });
}

bool ModelControl::IsReady(const ModelKey& model) const {
  const absl::StatusOr<engine::ModelStatus> status = engine_.GetModel(model.first, model.second);
  return status.ok() && status->state == engine::ModelState::kReady;
}

}  // namespace contextpool::server
