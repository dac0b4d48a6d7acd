// An engine of several devices: where models go, and what one device's trouble means for the
// others.
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/unit/engine/engine_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::seconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class EngineDevicesTest : public EngineTest {
 protected:
  ~EngineDevicesTest() override {
    gate_.Open();
    engine_.reset();
  }

  // GPUs, and a CPU if `cpu`.
  void UseGpus(int gpus, bool cpu) {
    std::vector<std::unique_ptr<testing::FakeDevice>> devices;
    for (int i = 0; i < gpus; ++i) {
      devices.push_back(
          std::make_unique<testing::FakeDevice>(absl::StrCat("cuda:", i), DType::kBF16));
    }
    if (cpu) devices.push_back(std::make_unique<testing::FakeDevice>("cpu"));
    for (const auto& device : devices) fakes_.push_back(device.get());
    UseDevices(std::move(devices));
  }

  static ModelSpec On(const std::string& device, const std::string& name) {
    ModelSpec spec = Spec(name);
    spec.device = device;
    return spec;
  }

  static ModelSpec In(DType dtype, const std::string& name) {
    ModelSpec spec = Spec(name);
    spec.dtype = dtype;
    return spec;
  }

  static Request To(const std::string& model, const char* text) {
    Request request = Texts({text});
    request.model = model;
    return request;
  }

  // Passes over texts of this length stand at the gate.
  void HoldPassesOf(int32_t length) {
    gate_.Close();
    hooks_.forward = [this, length](const PackedBatch& batch) {
      if (batch.max_length == length) gate_.Pass();
      return absl::OkStatus();
    };
  }

  std::vector<testing::FakeDevice*> fakes_;
};

TEST_F(EngineDevicesTest, ModelsAreSpreadOverTheGpusAndTheCpuIsLeftAlone) {
  UseGpus(2, true);
  Start({Spec("a"), Spec("b"), Spec("c"), Spec("d")});
  EXPECT_THAT(loaded_on_, ElementsAre(Pair("a", "cuda:0"), Pair("b", "cuda:1"), Pair("c", "cuda:0"),
                                      Pair("d", "cuda:1")));
  for (const char* name : {"a", "b", "c", "d"}) EXPECT_TRUE(Send(To(name, "x")).get().ok()) << name;
}

TEST_F(EngineDevicesTest, AnUnloadedModelLeavesRoomForTheNext) {
  UseGpus(2, false);
  Start({Spec("a"), Spec("b"), Spec("c")});
  ASSERT_TRUE(Unload("a").get().ok());
  ASSERT_TRUE(Unload("c").get().ok());
  ASSERT_TRUE(Load(Spec("d")).get().ok());
  EXPECT_EQ(loaded_on_["d"], "cuda:0");
}

TEST_F(EngineDevicesTest, AModelThatNamesItsDeviceGetsIt) {
  UseGpus(2, true);
  Start({On("cuda:1", "a"), On("cuda:1", "b"), On("cpu", "c")});
  EXPECT_THAT(loaded_on_, ElementsAre(Pair("a", "cuda:1"), Pair("b", "cuda:1"), Pair("c", "cpu")));
}

TEST_F(EngineDevicesTest, ADeviceThatIsNotThereIsAnErrorOfTheModel) {
  UseGpus(2, true);
  Start({On("cuda:2", "a"), Spec("b")});
  EXPECT_THAT(FailureOf("a"), AllOf(HasSubstr("device: \"cuda:2\""),
                                    HasSubstr("which are \"cuda:0\", \"cuda:1\", \"cpu\"")));
  EXPECT_TRUE(Send(To("b", "x")).get().ok());
}

TEST_F(EngineDevicesTest, ADTypeThatTheDeviceDoesNotComputeInIsAnErrorOfTheModel) {
  UseGpus(1, true);
  ModelSpec spec = In(DType::kF32, "a");
  spec.device = "cuda:0";
  Start({spec, In(DType::kF16, "b")});
  EXPECT_THAT(FailureOf("a"), AllOf(HasSubstr("dtype: \"float32\""),
                                    HasSubstr("device \"cuda:0\" computes in \"bfloat16\"")));
  EXPECT_THAT(FailureOf("b"), AllOf(HasSubstr("dtype: \"float16\""),
                                    HasSubstr("device \"cuda:0\" computes in \"bfloat16\""),
                                    HasSubstr("device \"cpu\" computes in \"float32\"")));
}

TEST_F(EngineDevicesTest, ADTypeChoosesAmongDevices) {
  UseGpus(1, true);
  Start({In(DType::kF32, "a"), In(DType::kBF16, "b")});
  EXPECT_THAT(loaded_on_, ElementsAre(Pair("a", "cpu"), Pair("b", "cuda:0")));
}

TEST_F(EngineDevicesTest, WhatGpusDoNotComputeIsComputedOnTheCpu) {
  UseGpus(2, true);
  Start({Spec("convolves")});
  EXPECT_EQ(loaded_on_["convolves"], "cpu");
  EXPECT_TRUE(Send(To("convolves", "x")).get().ok());
}

TEST_F(EngineDevicesTest, WhatGpusDoNotComputeFailsWhereThereIsNoCpuOrItIsNotMeant) {
  UseGpus(1, false);
  Start({Spec("convolves")});
  EXPECT_THAT(FailureOf("convolves"), HasSubstr("on a CPU only"));
  engine_.reset();
  UseGpus(1, true);
  Start({On("cuda:0", "convolves")});
  EXPECT_THAT(FailureOf("convolves"), HasSubstr("on a CPU only"));
}

TEST_F(EngineDevicesTest, AModelThatAGpusWarmUpDoesNotComputeGoesToTheCpuAndLeavesNothingBehind) {
  UseGpus(1, true);
  fakes_[0]->next_failure = absl::UnimplementedError("heads of 12 columns");
  Start({Spec("a")});
  EXPECT_EQ(loaded_on_["a"], "cpu");
  EXPECT_EQ(InfoOf("a").passed_over, "heads of 12 columns");
  EXPECT_EQ(fakes_[0]->bytes_held(), 0u);
  EXPECT_GT(fakes_[1]->bytes_held(), 0u);
  ASSERT_TRUE(Load(Spec("b")).get().ok());
  EXPECT_EQ(loaded_on_["b"], "cuda:0");
  EXPECT_EQ(InfoOf("b").passed_over, "");
}

TEST_F(EngineDevicesTest, AFaultOfAGpuIsNotHiddenByTheCpu) {
  UseGpus(1, true);
  fakes_[0]->next_failure = absl::InternalError("a bug");
  Start({Spec("a")});
  EXPECT_THAT(FailureOf("a"), HasSubstr("a bug"));
}

TEST_F(EngineDevicesTest, DevicesComputeAtOneTime) {
  UseGpus(2, false);
  Start({Spec("a"), Spec("b")});
  HoldPasses();
  auto first = Send(To("a", "x"));
  auto second = Send(To("b", "y"));
  gate_.WaitForArrivals(2);
  gate_.Open();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

TEST_F(EngineDevicesTest, ADeviceThatHangsHoldsUpItsOwnModelsOnlyAndTheEngineIsUnhealthy) {
  testing::FakeClock time;
  clock_ = &time;
  UseGpus(2, false);
  Start({Spec("a"), Spec("b")});
  HoldPassesOf(3);
  auto stuck = Send(To("b", "xyz"));
  gate_.WaitForArrivals(1);
  time.Advance(seconds(5));
  EXPECT_TRUE(Send(To("a", "x")).get().ok());
  EXPECT_EQ(Send(To("b", "x")).get().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(engine_->Health().healthy);
  EXPECT_THAT(engine_->Health().reason, HasSubstr("device cuda:1: "));
  const Stats stats = engine_->Snapshot();
  ASSERT_EQ(stats.devices.size(), 2u);
  EXPECT_EQ(stats.devices[0].name, "cuda:0");
  EXPECT_EQ(stats.devices[0].step_seconds, 0);
  EXPECT_EQ(stats.devices[1].name, "cuda:1");
  EXPECT_EQ(stats.devices[1].step_seconds, 5);
  gate_.Open();
  EXPECT_TRUE(stuck.get().ok());
  // The step ends a moment after its answers; a hang here fails by the test's time limit.
  while (!engine_->Health().healthy) std::this_thread::yield();
  engine_.reset();  // before the clock
}

TEST_F(EngineDevicesTest, IdleModelsOfEveryDeviceAreAsked) {
  testing::FakeClock time;
  clock_ = &time;
  canary_interval_ = seconds(10);
  UseGpus(2, false);
  Start({Spec("a"), Spec("b")});
  HoldPasses();
  time.Advance(seconds(10));
  gate_.WaitForArrivals(2);
  gate_.Open();
  engine_.reset();
}

TEST_F(EngineDevicesTest, ACanaryIsJudgedByItsOwnDevice) {
  testing::FakeClock time;
  clock_ = &time;
  canary_interval_ = seconds(10);
  UseGpus(2, false);
  Start({On("cuda:1", "m")});
  HoldPassesOf(3);
  const auto until = [this](const std::function<bool(const ModelStats&)>& so) {
    while (!so(engine_->Snapshot().models[0])) std::this_thread::yield();
  };
  time.Advance(seconds(9));
  auto running = Send(To("m", "xyz"));
  gate_.WaitForArrivals(1);
  time.Advance(seconds(1));
  until([](const ModelStats& model) { return model.queue_inputs[0] == 1; });
  time.Advance(Canaries::kAnswerLimit);
  until([](const ModelStats& model) { return model.canaries != decltype(model.canaries){}; });
  EXPECT_THAT(engine_->Snapshot().models[0].canaries, ElementsAre(0, 0, 1))
      << "the other device is idle, this one is not";
  gate_.Open();
  EXPECT_TRUE(running.get().ok());
  engine_.reset();
}

TEST_F(EngineDevicesTest, DrainWaitsForTheWorkOfEveryDevice) {
  UseGpus(2, false);
  Start({Spec("a"), Spec("b")});
  HoldPassesOf(3);
  auto held = Send(To("b", "xyz"));
  gate_.WaitForArrivals(1);
  std::atomic<bool> drained{false};
  std::thread drain([&] {
    engine_->Drain();
    drained = true;
  });
  while (Send(To("a", "x")).get().ok()) std::this_thread::yield();
  EXPECT_FALSE(drained);
  gate_.Open();
  drain.join();
  EXPECT_TRUE(held.get().ok());
}

TEST_F(EngineDevicesTest, AnUnloadedModelGivesItsDevicesMemoryBack) {
  UseGpus(2, false);
  Start({Spec("a"), Spec("b")});
  ASSERT_GT(fakes_[1]->bytes_held(), 0u);
  ASSERT_TRUE(Unload("b").get().ok());
  EXPECT_EQ(fakes_[1]->bytes_held(), 0u);
  EXPECT_GT(fakes_[0]->bytes_held(), 0u);
}

TEST_F(EngineDevicesTest, TheQueuesOfOneDeviceLeaveTheOthersTheirRoom) {
  queue_bounds_.max_inputs = 2;
  UseGpus(2, false);
  Start({Spec("a"), Spec("b")});
  HoldPassesOf(3);
  auto running = Send(To("a", "xyz"));
  gate_.WaitForArrivals(1);
  auto waits = Send(To("a", "x"));
  auto waits_too = Send(To("a", "y"));
  EXPECT_EQ(Send(To("a", "z")).get().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Send(To("b", "x")).get().ok());
  gate_.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_TRUE(waits.get().ok());
  EXPECT_TRUE(waits_too.get().ok());
}

}  // namespace
}  // namespace contextpool::engine
