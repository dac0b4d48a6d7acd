#include "server/observe/health.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_engine.h"

namespace contextpool::server {
namespace {

using ::testing::ElementsAre;

// Whoever asks it next for its health hears later what it was when they asked.
class SlowEngine final : public engine::FakeEngine {
 public:
  // A model that loads makes monitors look often.
  SlowEngine() { SetState("classifier", engine::ModelState::kLoading, ""); }

  engine::EngineHealth Health() const override {
    engine::EngineHealth health = FakeEngine::Health();
    engine::MutexLock lock(mutex_);
    if (!hold_) return health;
    hold_ = false;
    held_ = true;
    changed_.NotifyAll();
    while (held_) changed_.Wait(mutex_);
    return health;
  }

  // Until somebody has asked and waits.
  void HoldNextAnswer() {
    engine::MutexLock lock(mutex_);
    hold_ = true;
    while (!held_) changed_.Wait(mutex_);
  }
  void GiveAnswer() {
    engine::MutexLock lock(mutex_);
    held_ = false;
    changed_.NotifyAll();
  }

 private:
  mutable engine::Mutex mutex_;
  mutable engine::CondVar changed_;
  mutable bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  mutable bool held_ ABSL_GUARDED_BY(mutex_) = false;
};

class HealthMonitorTest : public ::testing::Test {
 protected:
  enum class Told : uint8_t { kServing, kNotServing, kStopped };

  void Listen() {
    monitor_.AddListener([this](const HealthMonitor::State& state) {
      const Told serving = state.services.at("") ? Told::kServing : Told::kNotServing;
      engine::MutexLock lock(mutex_);
      told_.push_back(state.phase == HealthMonitor::Phase::kStopped ? Told::kStopped : serving);
      changed_.NotifyAll();
    });
  }

  // What the listener was told until it heard of the end.
  std::vector<Told> StopAndHear() {
    monitor_.SetPhase(HealthMonitor::Phase::kStopped);
    engine::MutexLock lock(mutex_);
    while (told_.back() != Told::kStopped) changed_.Wait(mutex_);
    return told_;
  }

  engine::Mutex mutex_;
  engine::CondVar changed_;
  std::vector<Told> told_ ABSL_GUARDED_BY(mutex_);
  SlowEngine engine_;
  HealthMonitor monitor_{engine_};
};

TEST_F(HealthMonitorTest, WhatWasFoundBeforeDrainingBeganIsNotToldAfterIt) {
  engine_.HoldNextAnswer();
  monitor_.SetPhase(HealthMonitor::Phase::kDraining);
  Listen();
  engine_.GiveAnswer();
  EXPECT_THAT(StopAndHear(), ElementsAre(Told::kNotServing, Told::kStopped));
}

TEST_F(HealthMonitorTest, WhatWasFoundBeforeTheEngineFellIllIsNotToldAfterIt) {
  engine_.HoldNextAnswer();
  engine_.SetHealth({false, true, "the device hangs", {}});
  Listen();
  engine_.GiveAnswer();
  EXPECT_THAT(StopAndHear(), ElementsAre(Told::kNotServing, Told::kStopped));
}

}  // namespace
}  // namespace contextpool::server
