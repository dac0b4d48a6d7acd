#include "server/models/model_control.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_engine.h"
#include "tests/unit/server/models/repository_folder.h"

namespace contextpool::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The fake engine answers at once.
class ModelControlTest : public ::testing::Test {
 protected:
  absl::StatusOr<engine::ModelStatus> Load(const std::string& name, int64_t version = 0) {
    std::optional<absl::StatusOr<engine::ModelStatus>> result;
    control_.LoadModel(name, version, [&](auto model) { result = std::move(model); });
    return *std::move(result);
  }

  absl::StatusOr<engine::ModelStatus> Reload(const std::string& name, int64_t version = 0) {
    std::optional<absl::StatusOr<engine::ModelStatus>> result;
    control_.ReloadModel(name, version, [&](auto model) { result = std::move(model); });
    return *std::move(result);
  }

  absl::Status Unload(const std::string& name, int64_t version = 0) {
    std::optional<absl::Status> result;
    control_.UnloadModel(name, version, [&](absl::Status status) { result = std::move(status); });
    return *std::move(result);
  }

  static std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

  RepositoryFolder folder_;
  engine::FakeEngine engine_;
  ServerMetrics metrics_{{{"encoder", 1}}};
  Logger logger_{LogFormat::kText, LogLevel::kError, /*file_descriptor=*/-1};
  ModelControl control_{{folder_.path()}, engine_, metrics_, logger_};
};

TEST(LogModelTest, SaysWhyTheFirstChoiceOfDevicesDoesNotComputeTheModel) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
  Logger logger(LogFormat::kText, LogLevel::kInfo, fileno(file.get()));
  engine::ModelInfo info;
  info.name = "encoder";
  info.passed_over = "device cuda:0 computes no ResNet";
  engine::ModelStatus model;
  model.info = std::make_shared<engine::ModelInfo>(info);
  model.state = engine::ModelState::kReady;
  LogModel(logger, model);
  std::string text(4096, '\0');
  text.resize(static_cast<size_t>(
      std::max<ssize_t>(0, pread(fileno(file.get()), text.data(), text.size(), 0))));
  EXPECT_THAT(text, HasSubstr("device cuda:0 computes no ResNet"));
}

TEST_F(ModelControlTest, LoadsTheHighestVersionThatThePolicyChooses) {
  for (const char* version : {"1", "2", "10"}) {
    folder_.Write(absl::StrCat("m/", version, "/config.json"));
  }
  const auto model = Load("m");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->info->version, 10);
  EXPECT_EQ(metrics_.Key("m", 0), ModelKey("m", 10));
}

TEST_F(ModelControlTest, LoadsAnOlderVersionByItsNumber) {
  folder_.Write("m/1/config.json");
  folder_.Write("m/2/config.json");
  EXPECT_EQ(Load("m", 1)->info->version, 1);
}

TEST_F(ModelControlTest, AModelThatIsReadyIsNotLoadedAgainUnlessAsked) {
  folder_.Write("m/config.json");
  ASSERT_TRUE(Load("m").ok());
  ASSERT_TRUE(Load("m").ok());
  EXPECT_EQ(engine_.loads(), 1);
  ASSERT_TRUE(Reload("m").ok());
  EXPECT_EQ(engine_.loads(), 2);
}

TEST_F(ModelControlTest, WhatTheRepositoryLacksIsNotFoundAndItSaysWhatItHas) {
  folder_.Write("m/1/config.json");
  folder_.Write("m/2/config.json");
  folder_.Write("n/config.json");
  const absl::Status name = Load("nobody").status();
  EXPECT_EQ(name.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(MessageOf(name), HasSubstr("it has m, n"));
  const absl::Status version = Load("m", 7).status();
  EXPECT_EQ(version.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(MessageOf(version),
              HasSubstr("model.version: the repository has of this model: 2, 1"));
  EXPECT_EQ(engine_.loads(), 0);
}

TEST_F(ModelControlTest, NamesNeverBecomePaths) {
  folder_.Write("below/m/config.json");
  for (const char* name : {"below/m", "../", "/etc", "m\n"}) {
    EXPECT_EQ(Load(name).status().code(), absl::StatusCode::kNotFound) << name;
    EXPECT_THAT(MessageOf(Load(name).status()), Not(HasSubstr(name))) << name;
  }
  EXPECT_EQ(Load("").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Reload("").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Unload("").code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ModelControlTest, AFailedLoadSaysWhyWithACodeThatDoesNotSpeakOfTheCall) {
  folder_.Write("m/config.json");
  for (const absl::Status& failure :
       {absl::NotFoundError("model.safetensors is missing"), absl::InternalError("odd"),
        absl::InvalidArgumentError("config.json: is broken")}) {
    engine_.FailLoadsWith(failure);
    const absl::Status status = Load("m").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(MessageOf(status), HasSubstr(std::string(failure.message())));
  }
  engine_.FailLoadsWith(absl::ResourceExhaustedError("no memory"));
  EXPECT_EQ(Load("m").status().code(), absl::StatusCode::kResourceExhausted);
  engine_.FailLoadsWith(absl::UnavailableError("draining"));
  EXPECT_EQ(Load("m").status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ModelControlTest, AFaultOfTheRepositoryIsToldToThoseWhomItConcerns) {
  folder_.Write("m/config.json");
  folder_.Write("bad/config.json");
  folder_.Write("bad/serving.textproto", "no_such_field: 1");
  EXPECT_TRUE(Load("m").ok());
  const absl::Status status = Load("bad").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(status), HasSubstr("no_such_field"));
  EXPECT_THAT(MessageOf(status), HasSubstr("/bad/serving.textproto"));
  EXPECT_THAT(MessageOf(status), Not(HasSubstr(::testing::TempDir())));
}

TEST_F(ModelControlTest, ReloadingTakesTheVersionThatServesEvenIfANewerOneIsThere) {
  folder_.Write("m/1/config.json");
  ASSERT_TRUE(Load("m").ok());
  folder_.Write("m/2/config.json");
  EXPECT_EQ(Reload("m")->info->version, 1);
  EXPECT_EQ(Reload("m", 2).status().code(), absl::StatusCode::kNotFound) << "it is not served";
  folder_.Remove("m/1");
  EXPECT_EQ(Reload("m", 1).status().code(), absl::StatusCode::kNotFound) << "it has no files";
}

TEST_F(ModelControlTest, UnloadingWithoutAVersionTakesAllOfThem) {
  folder_.Write("m/1/config.json");
  folder_.Write("m/2/config.json");
  ASSERT_TRUE(Load("m", 1).ok());
  ASSERT_TRUE(Load("m", 2).ok());
  EXPECT_TRUE(Unload("m", 2).ok());
  EXPECT_EQ(metrics_.Key("m", 0), ModelKey("m", 1));
  ASSERT_TRUE(Load("m", 2).ok());
  EXPECT_TRUE(Unload("m").ok());
  EXPECT_EQ(engine_.GetModel("m", 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Unload("m").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Unload("m", 1).code(), absl::StatusCode::kNotFound);
}

// Unloads end when told.
class SlowUnloads : public engine::FakeEngine {
 public:
  void Unload(absl::string_view, int64_t, UnloadCallback done) override { done_ = std::move(done); }
  // Whether the version is still listed then.
  void FinishUnload(bool listed) {
    if (listed) return done_(absl::OkStatus());
    FakeEngine::Unload("m", 1, std::move(done_));
  }

 private:
  UnloadCallback done_;
};

class LoadDuringUnloadTest : public ::testing::Test {
 protected:
  LoadDuringUnloadTest() {
    Load();
    control_.Unload({"m", 1}, [](const absl::Status&) {});
  }

  void Load() {
    engine::ModelSpec spec;
    spec.name = "m";
    spec.version = 1;
    control_.Load(std::move(spec), [](const auto&) {});
  }

  SlowUnloads engine_;
  ServerMetrics metrics_{{}};
  Logger logger_{LogFormat::kText, LogLevel::kError, /*file_descriptor=*/-1};
  ModelControl control_{{}, engine_, metrics_, logger_};
};

TEST_F(LoadDuringUnloadTest, AVersionThatServesAgainIsNotCountedAsGone) {
  Load();
  engine_.FinishUnload(/*listed=*/true);
  EXPECT_EQ(metrics_.Key("m", 0), ModelKey("m", 1));
}

TEST_F(LoadDuringUnloadTest, AVersionThatServesAfterwardsIsCountedAgain) {
  engine_.HoldLoads();
  Load();
  engine_.FinishUnload(/*listed=*/false);
  EXPECT_EQ(metrics_.Key("m", 0), ModelKey("", 0));
  engine_.ReleaseLoads();
  EXPECT_EQ(metrics_.Key("m", 0), ModelKey("m", 1));
}

}  // namespace
}  // namespace contextpool::server
