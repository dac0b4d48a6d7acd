#include "server/models/repository_watcher.h"

#include <algorithm>
#include <utility>

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

void RepositoryWatcher::Stop() {
  {
    engine::MutexLock lock(mutex_);
    stop_ = true;
    stopped_.NotifyAll();
  }
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

void RepositoryWatcher::Poll() {
  const RepositoryScan scan = ScanRepository(repositories_);
  LogFaults(scan.faults);
  const Look found = LookAt(scan.repository.models);
  for (const auto& [key, seen] : found) versions_.try_emplace(key);
  for (auto it = versions_.begin(); it != versions_.end();) {
    const auto& [key, version] = *it;
    const auto seen = found.find(key);
    bool keep = true;
    if (seen != found.end()) {
      keep = Judge(key, it->second, seen->second, scan.repository);
    } else if (!IsHidden(key, scan.faults)) {
      keep = Judge(key, it->second, std::nullopt, scan.repository);
    }
    it = keep ? std::next(it) : versions_.erase(it);
  }
}

bool RepositoryWatcher::Judge(const ModelKey& key, Version& version, std::optional<Seen> now,
                              const Repository& repository) {
  const bool settled = now == version.last;
  version.last = std::move(now);
  if (!settled || version.last == version.acted) return version.last || version.acted;
  if (version.last) {
    version.acted = version.last;
    control_.Load(version.last->spec, [](const auto&) {});
    return true;
  }
  if (!MayGo(key, repository)) return true;
  control_.Unload(key, [](const absl::Status&) {});
  return false;
}

bool RepositoryWatcher::MayGo(const ModelKey& key, const Repository& repository) const {
  const auto is_this = [&](const engine::ModelSpec& spec) {
    return spec.name == key.first && spec.version == key.second;
  };
  if (std::none_of(repository.unchosen.begin(), repository.unchosen.end(), is_this)) return true;
  // Its files are there: it stands in until the highest version that was chosen serves.
  const auto highest = std::find_if(repository.models.rbegin(), repository.models.rend(),
                                    [&](const auto& spec) { return spec.name == key.first; });
  return highest != repository.models.rend() && control_.IsReady({highest->name, highest->version});
}

}  // namespace contextpool::server
