#include "server/models/repository_watcher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/models/fingerprint.h"

namespace contextpool::server {
namespace {

// Whether the look could not tell if the version is there.
bool IsHidden(const ModelKey& key, const std::vector<RepositoryFault>& faults) {
  return std::any_of(faults.begin(), faults.end(), [&](const RepositoryFault& fault) {
    return fault.model.empty() || fault.model == key.first;
  });
}

}  // namespace

RepositoryWatcher::Look RepositoryWatcher::LookAt(const std::vector<engine::ModelSpec>& models) {
  Look look;
  for (const engine::ModelSpec& spec : models) {
    look.emplace(ModelKey(spec.name, spec.version), Seen{spec, Fingerprint(spec.directory)});
  }
  return look;
}

RepositoryWatcher::RepositoryWatcher(std::vector<std::string> repositories, Look loaded,
                                     ModelControl& control, Logger& logger)
    : repositories_(std::move(repositories)), control_(control), logger_(logger) {
  for (const auto& [key, seen] : loaded) versions_[key] = {seen, seen};
}

RepositoryWatcher::~RepositoryWatcher() { Stop(); }

void RepositoryWatcher::Start(std::chrono::milliseconds interval, engine::Clock& clock) {
  thread_ = std::thread([this, interval, &clock] { Loop(interval, clock); });
}

void RepositoryWatcher::RequestStop() {
  engine::MutexLock lock(mutex_);
  stop_ = true;
  stopped_.NotifyAll();
}

void RepositoryWatcher::Stop() {
  RequestStop();
  if (thread_.joinable()) thread_.join();
}

void RepositoryWatcher::Loop(std::chrono::milliseconds interval, engine::Clock& clock) {
  while (true) {
    {
      const engine::TimePoint next = clock.Now() + interval;
      engine::MutexLock lock(mutex_);
      while (!stop_ && clock.Now() < next) clock.WaitUntil(stopped_, mutex_, next);
      if (stop_) return;
    }
    Poll();
  }
}

void RepositoryWatcher::LogFaults(const std::vector<RepositoryFault>& faults) {
  std::map<std::string, std::string> now;
  for (const RepositoryFault& fault : faults) {
    const auto [logged, added] = now.emplace(fault.model, std::string(fault.status.message()));
    const auto before = faults_.find(fault.model);
    if (!added || (before != faults_.end() && before->second == logged->second)) continue;
    logger_.Log(LogLevel::kError, "the repository has a fault; what serves stays as it is",
                {{"model", logged->first}, {"reason", logged->second}});
  }
  faults_ = std::move(now);
}

void RepositoryWatcher::AddEmptied(RepositoryScan& scan) const {
  for (const std::string& path : scan.empty) {
    const bool held_models =
        std::any_of(versions_.begin(), versions_.end(), [&path](const auto& version) {
          const std::optional<Seen>& acted = version.second.acted;
          return acted && LiesIn(acted->spec.directory, path);
        });
    if (!held_models) continue;
    scan.faults.push_back(
        {"", absl::UnavailableError(
                 absl::StrCat("--model_repository: ", path,
                              " holds no model any more; is its volume mounted?"
                              " To stop serving its last model unload it with AdminService"))});
  }
}

void RepositoryWatcher::Poll() {
  RepositoryScan scan = ScanRepository(repositories_);
  AddEmptied(scan);
  LogFaults(scan.faults);
  const Look found = LookAt(scan.repository.models);
  for (const auto& [key, seen] : found) versions_.try_emplace(key);
  std::vector<ModelKey> gone;
  for (auto& [key, version] : versions_) {
    const auto seen = found.find(key);
    if (seen != found.end()) {
      JudgePresent(version, seen->second);
    } else if (!IsHidden(key, scan.faults) && JudgeAbsent(key, version, scan.repository)) {
      gone.push_back(key);
    }
  }
  // After the loads, which may bring what stands in for them.
  for (const ModelKey& key : gone) {
    if (versions_.at(key).acted) control_.Unload(key, [](const absl::Status&) {});
    versions_.erase(key);
  }
}

void RepositoryWatcher::JudgePresent(Version& version, const Seen& now) {
  const bool settled = version.last == now;
  version.last = now;
  if (!settled || version.acted == now) return;
  version.acted = now;
  control_.Load(now.spec, [](const auto&) {});
}

bool RepositoryWatcher::JudgeAbsent(const ModelKey& key, Version& version,
                                    const Repository& repository) const {
  const bool settled = !version.last;
  version.last.reset();
  return settled && (!version.acted || MayGo(key, repository));
}

bool RepositoryWatcher::MayGo(const ModelKey& key, const Repository& repository) const {
  const auto is_this = [&](const engine::ModelSpec& spec) {
    return spec.name == key.first && spec.version == key.second;
  };
  // Of the versions that were chosen instead, the highest first.
  std::vector<ModelKey> instead;
  for (auto spec = repository.models.rbegin(); spec != repository.models.rend(); ++spec) {
    if (spec->name == key.first) instead.emplace_back(spec->name, spec->version);
  }
  const bool has_files =
      std::any_of(repository.unchosen.begin(), repository.unchosen.end(), is_this);
  if (instead.empty()) return !has_files;
  // It stands in until the highest of them serves or, as an operator took its files, any of them.
  if (has_files) instead.resize(1);
  return std::any_of(instead.begin(), instead.end(),
                     [this](const ModelKey& other) { return control_.IsReady(other); });
}

}  // namespace contextpool::server
