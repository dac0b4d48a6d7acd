// What becomes of a server whose device is lost, as a GPU is after a sticky error: from the device
// to those who ask for the server's health, and to the end of the process.
#include <cstdlib>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/observe/exit_guard.h"
#include "server/observe/health.h"
#include "server/observe/health_metrics.h"
#include "server/observe/log.h"
#include "server/observe/metrics_page.h"
#include "tests/unit/engine/engine_fixture.h"

namespace contextpool::server {
namespace {

using ::testing::HasSubstr;

class LostDeviceTest : public engine::EngineTest {
 protected:
  // A batch fails with an error after which the device computes no more.
  absl::Status LoseTheDevice() {
    device_->next_failure = absl::DataLossError("device fake: an illegal memory access");
    return Send(Texts({"a"})).get().status();
  }
};

TEST_F(LostDeviceTest, ItsBatchIsAnsweredAndNothingServesAnyMore) {
  Start({engine::Spec("m")});
  HealthMonitor health(*engine_);
  health.EndStart();
  const HealthCollectable metrics(*engine_);
  ASSERT_TRUE(health.Ready());
  const absl::Status failed = LoseTheDevice();
  EXPECT_EQ(failed.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("illegal memory access"));
  EXPECT_EQ(health.Serving(""), false);
  EXPECT_EQ(health.Serving("model:m"), false);
  EXPECT_FALSE(health.Ready());
  EXPECT_THAT(health.ReadinessJson(), HasSubstr("illegal memory access"));
  EXPECT_FALSE(health.Alive().ok());
  EXPECT_THAT(RenderMetrics({&metrics}), HasSubstr("contextpool_engine_healthy 0"));
  EXPECT_EQ(Send(Texts({"b"})).get().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(LostDeviceTest, ADeviceThatIsLostWhileAModelIsLoadedIsLostToo) {
  Start({engine::Spec("m")});
  device_->next_failure = absl::DataLossError("device fake: an illegal memory access");
  EXPECT_FALSE(Load(engine::Spec("new")).get().ok());
  EXPECT_FALSE(engine_->Health().can_recover);
}

TEST_F(LostDeviceTest, ALoadThatComputesNothingFindsItOutToo) {
  Start({engine::Spec("m")});
  device_->next_failure = absl::DataLossError("device fake: an illegal memory access");
  EXPECT_FALSE(Load(engine::Spec("z large")).get().ok());
  EXPECT_FALSE(engine_->Health().can_recover);
}

TEST_F(LostDeviceTest, AnErrorOfOneBatchIsNoLossAndTheServersFault) {
  Start({engine::Spec("m")});
  for (const absl::Status& failure :
       {absl::InternalError("a fault"), absl::ResourceExhaustedError("no memory for a batch"),
        absl::UnimplementedError("bad shape")}) {
    device_->next_failure = failure;
    EXPECT_EQ(Send(Texts({"a"})).get().status().code(), absl::StatusCode::kInternal) << failure;
    EXPECT_TRUE(engine_->Health().healthy);
    EXPECT_TRUE(Send(Texts({"b"})).get().ok());
  }
}

// As Run does it.
using LostDeviceDeathTest = LostDeviceTest;

TEST_F(LostDeviceDeathTest, TheProcessEndsWithOneAndSaysWhy) {
  const auto serve = [this] {
    Start({engine::Spec("m")});
    Logger logger(LogFormat::kText, LogLevel::kInfo);
    ExitGuard guard(*engine_, std::chrono::seconds(30), engine::Clock::Real(), logger,
                    [] { std::_Exit(1); });
    guard.Start();
    LoseTheDevice().IgnoreError();
    std::this_thread::sleep_for(std::chrono::minutes(1));
  };
  EXPECT_EXIT(serve(), ::testing::ExitedWithCode(1),
              "the engine cannot recover; ending reason=.*an illegal memory access");
}

}  // namespace
}  // namespace contextpool::server
