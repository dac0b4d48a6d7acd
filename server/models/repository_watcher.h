// Keeps what is served the same as what the repository holds.
//
// A version that appears is loaded, one whose files or settings changed is loaded again, and one
// that vanished is unloaded, though not before another version of its model that was chosen serves,
// if there is one; a version that version_policy no longer chooses stays until the highest that it
// does choose serves. A change counts once two looks in a row saw the same, so that a copy in
// progress is left alone, and is tried once: what failed is tried again only after the next change.
// What cannot be read, a serving.textproto with an error, a folder that is not there for a moment
// or a repository that has lost its last model, changes nothing for the models that it hides.
//
// Only changes count: a model that an operator has unloaded stays so until its files change.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/mutex.h"
#include "engine/base/options.h"
#include "server/config/repository.h"
#include "server/models/model_control.h"
#include "server/observe/log.h"

namespace contextpool::server {

class RepositoryWatcher {
 public:
  // A version as it is on disk.
  struct Seen {
    engine::ModelSpec spec;
    std::string files;
    bool operator==(const Seen&) const = default;
  };
  using Look = std::map<ModelKey, Seen>;

  static Look LookAt(const std::vector<engine::ModelSpec>& models);

  // `loaded` is what is served, or being loaded, looked at before any file of it was read.
  // `control` and `logger` must outlive this.
  RepositoryWatcher(std::vector<std::string> repositories, Look loaded, ModelControl& control,
                    Logger& logger);
  ~RepositoryWatcher();

  // Looks every `interval` in a thread of its own, until Stop. REQUIRES: called once.
  void Start(std::chrono::milliseconds interval, engine::Clock& clock = engine::Clock::Real());
  // No look begins any more.
  void RequestStop();
  // The same, and waits for the look that is under way.
  void Stop();

  // Looks once. REQUIRES: no other look is under way.
  void Poll();

 private:
  struct Version {
    // What was last loaded, or tried; nothing: not known yet.
    std::optional<Seen> acted;
    // What the last look found; nothing: it is not there.
    std::optional<Seen> last;
  };

  void Loop(std::chrono::milliseconds interval, engine::Clock& clock);
  void LogFaults(const std::vector<RepositoryFault>& faults);
  // Adds the faults of repositories that held models once, and hold none now.
  void AddEmptied(RepositoryScan& scan) const;
  // Act on what a look found of one version, or did not. True: it is to go.
  void JudgePresent(Version& version, const Seen& now);
  bool JudgeAbsent(const ModelKey& key, Version& version, const Repository& repository) const;
  bool MayGo(const ModelKey& key, const Repository& repository) const;

  const std::vector<std::string> repositories_;
  ModelControl& control_;
  Logger& logger_;
  std::map<ModelKey, Version> versions_;
  // By model: the message that was logged.
  std::map<std::string, std::string> faults_;

  engine::Mutex mutex_;
  engine::CondVar stopped_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace contextpool::server
