#include "server/models/repository_watcher.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_engine.h"
#include "tests/unit/server/models/repository_folder.h"

namespace contextpool::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
namespace fs = std::filesystem;

// Looks are taken by the tests; the fake engine answers loads at once.
class RepositoryWatcherTest : public ::testing::Test {
 protected:
  RepositoryWatcherTest() {
    engine_.Unload("classifier", 1, [](const absl::Status&) {});
    engine_.Unload("encoder", 1, [](const absl::Status&) {});
  }
  ~RepositoryWatcherTest() override { std::fclose(log_); }

  // As a server does at its start.
  void Start() {
    const auto repository = FindModels({folder_.path()});
    ASSERT_TRUE(repository.ok()) << repository.status();
    watcher_.emplace(std::vector<std::string>{folder_.path()},
                     RepositoryWatcher::LookAt(repository->models), control_, logger_);
    for (const engine::ModelSpec& spec : repository->models) control_.Load(spec, [](auto) {});
    loads_ = engine_.loads();
  }

  void Poll(int times = 1) {
    for (int i = 0; i < times; ++i) watcher_->Poll();
  }

  // Loads since the start, or since the last call.
  int64_t NewLoads() { return engine_.loads() - std::exchange(loads_, engine_.loads()); }

  std::vector<std::string> Serving() const {
    std::vector<std::string> names;
    for (const engine::ModelStatus& model : engine_.ListModels()) {
      if (model.state != engine::ModelState::kReady) continue;
      names.push_back(absl::StrCat(model.info->name, ":", model.info->version));
    }
    return names;
  }

  std::string Log() const {
    std::fflush(log_);
    std::ifstream file(log_path_);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  // Lines of the log that hold the text.
  int Logged(const std::string& text) const {
    std::istringstream lines(Log());
    int count = 0;
    for (std::string line; std::getline(lines, line);) count += line.find(text) != line.npos;
    return count;
  }

  RepositoryFolder folder_;
  const std::string log_path_ = absl::StrCat(folder_.path(), ".log");
  std::FILE* const log_ = std::fopen(log_path_.c_str(), "w");
  engine::FakeEngine engine_;
  ServerMetrics metrics_{{}};
  Logger logger_{LogFormat::kText, LogLevel::kInfo, fileno(log_)};
  ModelControl control_{{folder_.path()}, engine_, metrics_, logger_};
  std::optional<RepositoryWatcher> watcher_;
  int64_t loads_ = 0;
};

TEST_F(RepositoryWatcherTest, NothingHappensWhileNothingChanges) {
  folder_.Write("m/config.json");
  Start();
  Poll(5);
  EXPECT_EQ(NewLoads(), 0);
  EXPECT_THAT(Serving(), ElementsAre("m:1"));
}

TEST_F(RepositoryWatcherTest, ANewModelIsLoadedOnceTwoLooksSawTheSame) {
  folder_.Write("m/config.json");
  Start();
  folder_.Write("n/config.json");
  Poll();
  EXPECT_EQ(NewLoads(), 0);
  folder_.Write("n/model.safetensors", "half");
  Poll();
  EXPECT_EQ(NewLoads(), 0) << "a copy in progress";
  folder_.Write("n/model.safetensors", "the whole");
  Poll();
  EXPECT_EQ(NewLoads(), 0);
  Poll();
  EXPECT_EQ(NewLoads(), 1);
  EXPECT_THAT(Serving(), ElementsAre("m:1", "n:1"));
  Poll(3);
  EXPECT_EQ(NewLoads(), 0);
  EXPECT_EQ(Logged("model ready model=n"), 1);
}

TEST_F(RepositoryWatcherTest, AFileThatIsOverwrittenReloadsItsModelAlone) {
  folder_.Write("m/config.json");
  folder_.Write("n/config.json");
  Start();
  folder_.Write("m/config.json", "{ }");
  Poll(4);
  EXPECT_EQ(NewLoads(), 1);
}

TEST_F(RepositoryWatcherTest, ChangedSettingsReloadTheModelAndChangedPolicyDoesNot) {
  folder_.Write("m/1/config.json");
  Start();
  folder_.Write("m/serving.textproto", "version_policy { latest: 3 }");
  Poll(4);
  EXPECT_EQ(NewLoads(), 0);
  folder_.Write("m/serving.textproto", "max_tokens: 32");
  Poll(4);
  EXPECT_EQ(NewLoads(), 1);
}

TEST_F(RepositoryWatcherTest, AHigherVersionIsLoadedAndTheLowerOneGoesOnlyOnceItServes) {
  folder_.Write("m/1/config.json");
  Start();
  engine_.FailLoadsWith(absl::InvalidArgumentError("config.json: is broken"));
  folder_.Write("m/2/config.json");
  Poll(6);
  EXPECT_EQ(NewLoads(), 1) << "what failed is not tried again";
  EXPECT_THAT(Serving(), ElementsAre("m:1"));
  EXPECT_EQ(Logged("still serves"), 1);
  EXPECT_EQ(Logged("serving_version=1"), 1);

  engine_.FailLoadsWith(absl::OkStatus());
  folder_.Write("m/2/config.json", "{ }");
  Poll(2);
  EXPECT_EQ(NewLoads(), 1) << "its files changed";
  Poll();
  EXPECT_THAT(Serving(), ElementsAre("m:2"));
  EXPECT_EQ(Logged("model unloaded model=m version=1"), 1);
}

TEST_F(RepositoryWatcherTest, AsManyVersionsStayAsThePolicySays) {
  folder_.Write("m/1/config.json");
  folder_.Write("m/2/config.json");
  folder_.Write("m/serving.textproto", "version_policy { latest: 2 }");
  Start();
  folder_.Write("m/3/config.json");
  Poll(4);
  EXPECT_THAT(Serving(), ElementsAre("m:2", "m:3"));
  EXPECT_EQ(NewLoads(), 1);
}

TEST_F(RepositoryWatcherTest, AModelThatVanishedIsUnloadedOnceTwoLooksMissedIt) {
  folder_.Write("m/config.json");
  folder_.Write("n/config.json");
  Start();
  fs::rename(folder_.path("m"), folder_.path(".m"));
  Poll();
  fs::rename(folder_.path(".m"), folder_.path("m"));
  Poll(3);
  EXPECT_THAT(Serving(), ElementsAre("m:1", "n:1"));
  EXPECT_EQ(NewLoads(), 0) << "the same files as before";
  folder_.Remove("m");
  Poll(2);
  EXPECT_THAT(Serving(), ElementsAre("n:1"));
  folder_.Write("m/config.json");
  Poll(2);
  EXPECT_THAT(Serving(), ElementsAre("m:1", "n:1")) << "it may come back";
}

TEST_F(RepositoryWatcherTest, AVersionThatVanishedStaysUntilTheOneInItsPlaceServes) {
  folder_.Write("m/1/config.json");
  Start();
  engine_.HoldLoads();
  fs::rename(folder_.path("m/1"), folder_.path("m/2"));
  Poll(6);
  EXPECT_EQ(NewLoads(), 1);
  EXPECT_THAT(Serving(), ElementsAre("m:1"));
  engine_.ReleaseLoads();
  EXPECT_THAT(Serving(), ElementsAre("m:1", "m:2"));
  Poll();
  EXPECT_THAT(Serving(), ElementsAre("m:2"));
}

TEST_F(RepositoryWatcherTest, AVersionThatVanishedStaysIfTheOneInItsPlaceFails) {
  folder_.Write("m/1/config.json");
  Start();
  engine_.FailLoadsWith(absl::InvalidArgumentError("config.json: is broken"));
  fs::rename(folder_.path("m/1"), folder_.path("m/2"));
  Poll(6);
  EXPECT_EQ(NewLoads(), 1);
  EXPECT_THAT(Serving(), ElementsAre("m:1"));
}

TEST_F(RepositoryWatcherTest, AModelsNewNameIsLoadedBeforeItsOldOneGoes) {
  folder_.Write("m/config.json");
  Start();
  fs::rename(folder_.path("m"), folder_.path("n"));
  Poll(2);
  EXPECT_THAT(Serving(), ElementsAre("n:1"));
  const std::string log = Log();
  const size_t loaded = log.find("model ready model=n");
  ASSERT_NE(loaded, log.npos);
  EXPECT_NE(log.find("model unloaded model=m", loaded), log.npos);
}

TEST_F(RepositoryWatcherTest, AFaultChangesNothingForItsModelNorForOthersAndIsLoggedOnce) {
  folder_.Write("m/config.json");
  folder_.Write("n/config.json");
  Start();
  folder_.Write("m/serving.textproto", "no_such_field: 1");
  folder_.Write("n/config.json", "{ }");
  Poll(4);
  EXPECT_THAT(Serving(), ElementsAre("m:1", "n:1"));
  EXPECT_EQ(NewLoads(), 1) << "n";
  EXPECT_EQ(Logged("no_such_field"), 1);
  folder_.Remove("m/serving.textproto");
  Poll(2);
  folder_.Write("m/serving.textproto", "no_such_field: 1");
  Poll(2);
  EXPECT_EQ(Logged("no_such_field"), 2) << "it was well in between";
  folder_.Write("m/serving.textproto", "max_tokens: 32");
  Poll(2);
  EXPECT_EQ(NewLoads(), 1);
}

TEST_F(RepositoryWatcherTest, ARepositoryThatCannotBeReadUnloadsNothing) {
  folder_.Write("m/config.json");
  Start();
  const std::string root = folder_.path();
  fs::rename(folder_.path("m"), absl::StrCat(log_path_, ".m"));
  fs::remove_all(root);
  Poll(4);
  EXPECT_THAT(Serving(), ElementsAre("m:1"));
  EXPECT_EQ(Logged("cannot read"), 1);
  fs::create_directories(root);
  fs::rename(absl::StrCat(log_path_, ".m"), folder_.path("m"));
  Poll(2);
  EXPECT_THAT(Serving(), ElementsAre("m:1"));
  EXPECT_EQ(NewLoads(), 0);
}

TEST_F(RepositoryWatcherTest, ARepositoryThatLostItsLastModelUnloadsNothing) {
  folder_.Write("m/config.json");
  Start();
  fs::rename(folder_.path("m"), folder_.path(".m"));  // as if its volume were not mounted
  Poll(4);
  EXPECT_THAT(Serving(), ElementsAre("m:1"));
  EXPECT_EQ(Logged("holds no model any more"), 1);
  fs::rename(folder_.path(".m"), folder_.path("m"));
  Poll(2);
  EXPECT_EQ(NewLoads(), 0) << "the same files as before";
}

TEST_F(RepositoryWatcherTest, AModelWhoseFilesCannotBeToldStays) {
  for (const char* file : {"l/config.json", "m/config.json", "n/1/config.json", "o/config.json"}) {
    folder_.Write(file);
  }
  Start();
  // A link to itself is an error of reading, also for root.
  folder_.Remove("l");
  fs::create_symlink("l", folder_.path("l"));
  folder_.Remove("m/config.json");
  fs::create_symlink("config.json", folder_.path("m/config.json"));
  folder_.Remove("n/1");
  fs::create_symlink("1", folder_.path("n/1"));
  Poll(4);
  EXPECT_THAT(Serving(), ElementsAre("l:1", "m:1", "n:1", "o:1"));
  EXPECT_EQ(NewLoads(), 0);
  EXPECT_EQ(Logged("cannot read"), 3);
}

TEST_F(RepositoryWatcherTest, WhatAnOperatorUnloadedStaysSoUntilItsFilesChange) {
  folder_.Write("m/config.json");
  folder_.Write("n/config.json");
  Start();
  control_.UnloadModel("m", 0, [](const absl::Status& status) { EXPECT_TRUE(status.ok()); });
  Poll(4);
  EXPECT_THAT(Serving(), ElementsAre("n:1"));
  folder_.Write("m/config.json", "{ }");
  Poll(2);
  EXPECT_THAT(Serving(), ElementsAre("m:1", "n:1"));
}

// A clock that tells until when it was waited for.
class WatchedClock : public testing::FakeClock {
 public:
  void WaitUntil(engine::CondVar& condition, engine::Mutex& mutex,
                 engine::TimePoint deadline) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    {
      engine::MutexLock lock(waits_mutex_);
      waits_.push_back(deadline);
      waited_.NotifyAll();
    }
    FakeClock::WaitUntil(condition, mutex, deadline);
  }

  // Blocks until so many waits have begun. Until when the last of them lasts.
  engine::TimePoint Wait(size_t number) {
    engine::MutexLock lock(waits_mutex_);
    while (waits_.size() < number) waited_.Wait(waits_mutex_);
    return waits_.back();
  }

 private:
  engine::Mutex waits_mutex_;
  engine::CondVar waited_;
  std::vector<engine::TimePoint> waits_ ABSL_GUARDED_BY(waits_mutex_);
};

TEST_F(RepositoryWatcherTest, LooksOnceInEveryInterval) {
  folder_.Write("m/config.json");
  Start();
  folder_.Write("n/config.json");
  constexpr std::chrono::seconds kInterval(10);
  WatchedClock clock;
  const engine::TimePoint start = clock.Now();
  watcher_->Start(kInterval, clock);
  EXPECT_EQ(clock.Wait(1), start + kInterval);
  clock.Advance(kInterval);
  EXPECT_EQ(clock.Wait(2), start + 2 * kInterval);
  EXPECT_EQ(NewLoads(), 0) << "one look";
  clock.Advance(kInterval);
  EXPECT_EQ(clock.Wait(3), start + 3 * kInterval);
  EXPECT_EQ(NewLoads(), 1) << "two looks saw the same";
  watcher_->Stop();
}

}  // namespace
}  // namespace contextpool::server
