#include "server/observe/exit_guard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_engine.h"
#include "tests/unit/engine/gate.h"

namespace contextpool::server {
namespace {

using ::std::chrono::seconds;
using ::testing::HasSubstr;

constexpr engine::Duration kTick{1};

class ExitGuardTest : public ::testing::Test {
 protected:
  ~ExitGuardTest() override {
    close(log_[0]);
    close(log_[1]);
  }

  void SetUnhealthy(bool can_recover) {
    engine_.SetHealth({false, can_recover, "the device hangs", clock_.Now()});
  }

  // What was logged since the last call.
  std::string Logged() {
    std::string text(4096, '\0');
    text.resize(std::max<ssize_t>(read(log_[0], text.data(), text.size()), 0));
    return text;
  }

  static std::array<int, 2> Pipe() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(pipe2(ends.data(), O_NONBLOCK), 0);
    return ends;
  }

  const std::array<int, 2> log_ = Pipe();
  testing::FakeClock clock_;
  engine::FakeEngine engine_;
  Logger logger_{LogFormat::kText, LogLevel::kInfo, log_[1]};
  engine::Gate exits_;
  int count_ = 0;
  ExitGuard guard_{engine_, seconds(30), clock_, logger_, [this] {
                     ++count_;
                     exits_.Pass();
                   }};
};

TEST_F(ExitGuardTest, AHealthyEngineKeepsTheProcess) {
  clock_.Advance(std::chrono::hours(24));
  guard_.Look();
  EXPECT_EQ(count_, 0);
}

TEST_F(ExitGuardTest, EndsOnceUnhealthyForThePatienceAndNotBefore) {
  SetUnhealthy(/*can_recover=*/true);
  clock_.Advance(seconds(30) - kTick);
  guard_.Look();
  EXPECT_EQ(count_, 0);
  EXPECT_THAT(Logged(), HasSubstr("the engine is unhealthy reason=\"the device hangs\""));
  clock_.Advance(kTick);
  guard_.Look();
  EXPECT_EQ(count_, 1);
  EXPECT_THAT(Logged(), HasSubstr("--unhealthy_exit; ending reason=\"the device hangs\""));
}

TEST_F(ExitGuardTest, EndsAtOnceWhenTheEngineCannotRecover) {
  SetUnhealthy(/*can_recover=*/false);
  guard_.Look();
  EXPECT_EQ(count_, 1);
  EXPECT_THAT(Logged(), HasSubstr("the engine cannot recover; ending reason="));
}

TEST_F(ExitGuardTest, RecoveryBeginsThePatienceAnew) {
  SetUnhealthy(/*can_recover=*/true);
  clock_.Advance(seconds(20));
  guard_.Look();
  engine_.SetHealth({});
  guard_.Look();
  EXPECT_THAT(Logged(), HasSubstr("the engine is healthy again seconds=20"));
  SetUnhealthy(/*can_recover=*/true);
  clock_.Advance(seconds(20));
  guard_.Look();
  EXPECT_EQ(count_, 0);
}

TEST_F(ExitGuardTest, AnotherReasonDoesNotBeginThePatienceAnew) {
  SetUnhealthy(/*can_recover=*/true);
  guard_.Look();
  clock_.Advance(seconds(20));
  SetUnhealthy(/*can_recover=*/true);
  clock_.Advance(seconds(10));
  guard_.Look();
  EXPECT_EQ(count_, 1);
}

TEST_F(ExitGuardTest, WithoutPatienceTheProcessIsKeptAndTheFaultLogged) {
  ExitGuard guard(engine_, seconds(0), clock_, logger_, [] { FAIL(); });
  SetUnhealthy(/*can_recover=*/false);
  clock_.Advance(std::chrono::hours(24));
  guard.Look();
  EXPECT_THAT(Logged(), HasSubstr("the device hangs"));
}

TEST_F(ExitGuardTest, LooksFromItsOwnThreadEverySecond) {
  guard_.Start();
  SetUnhealthy(/*can_recover=*/false);
  clock_.Advance(ExitGuard::kLookInterval);
  exits_.WaitForArrivals(1);
}

}  // namespace
}  // namespace contextpool::server
