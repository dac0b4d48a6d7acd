#include "engine/devices.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_device.h"

namespace contextpool::engine {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// A machine with so many GPUs.
class DevicesTest : public ::testing::Test {
 protected:
  absl::Status Open(std::vector<std::string> names) {
    EngineOptions options;
    options.devices = std::move(names);
    options.gpu_dtype = DType::kF16;
    options.cpu_threads = 3;
    notes_.clear();
    opened_.clear();
    auto devices = OpenDevices(options, source_, notes_);
    if (!devices.ok()) return devices.status();
    for (const auto& device : *devices) {
      opened_.push_back(absl::StrCat(device->name(), " ", kernels::Name(device->dtype())));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<int> gpus_ = 2;
  // The error of the last GPU.
  absl::Status broken_;
  DeviceSource source_{[this] { return gpus_; },
                       [this](int index, DType dtype) -> absl::StatusOr<std::unique_ptr<Device>> {
                         if (!gpus_.ok()) return gpus_.status();
                         if (index >= *gpus_) return absl::UnavailableError("there is no such GPU");
                         if (index == *gpus_ - 1 && !broken_.ok()) return broken_;
                         return std::make_unique<testing::FakeDevice>(absl::StrCat("cuda:", index),
                                                                      dtype);
                       },
                       [](int32_t threads) {
                         EXPECT_EQ(threads, 3);
                         return std::make_unique<testing::FakeDevice>("cpu");
                       }};
  std::vector<std::string> notes_;
  std::vector<std::string> opened_;
};

TEST_F(DevicesTest, AutoIsEveryGpuThenTheCpu) {
  ASSERT_TRUE(Open({"auto"}).ok());
  EXPECT_THAT(opened_, ElementsAre("cuda:0 float16", "cuda:1 float16", "cpu float32"));
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(DevicesTest, AutoWithoutAGpuIsTheCpuAndSaysWhy) {
  gpus_ = absl::UnavailableError("no driver; install one");
  ASSERT_TRUE(Open({"auto"}).ok());
  EXPECT_THAT(opened_, ElementsAre("cpu float32"));
  EXPECT_THAT(notes_, ElementsAre("computing on the CPU alone: no driver; install one"));
}

TEST_F(DevicesTest, AutoInAProgramWithoutCudaIsTheCpuAndNothingIsSaid) {
  gpus_ = absl::UnimplementedError("built without CUDA");
  ASSERT_TRUE(Open({"auto"}).ok());
  EXPECT_THAT(opened_, ElementsAre("cpu float32"));
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(DevicesTest, AutoPassesOverAGpuThatCannotBeUsedAndSaysWhy) {
  broken_ = absl::UnavailableError("too old");
  ASSERT_TRUE(Open({"auto"}).ok());
  EXPECT_THAT(opened_, ElementsAre("cuda:0 float16", "cpu float32"));
  EXPECT_THAT(notes_, ElementsAre("cuda:1 is not used: too old"));
}

TEST_F(DevicesTest, AutoWhereNoGpuOpensSaysThatTheCpuIsAlone) {
  gpus_ = 1;
  broken_ = absl::UnavailableError("too old");
  ASSERT_TRUE(Open({"auto"}).ok());
  EXPECT_THAT(opened_, ElementsAre("cpu float32"));
  EXPECT_THAT(notes_, ElementsAre("cuda:0 is not used: too old",
                                  "computing on the CPU alone: no GPU could be opened"));
}

TEST_F(DevicesTest, CpuIsTheCpuWhateverGpusThereAre) {
  ASSERT_TRUE(Open({"cpu"}).ok());
  EXPECT_THAT(opened_, ElementsAre("cpu float32"));
}

TEST_F(DevicesTest, CudaIsEveryGpuAndNothingElse) {
  ASSERT_TRUE(Open({"cuda"}).ok());
  EXPECT_THAT(opened_, ElementsAre("cuda:0 float16", "cuda:1 float16"));
}

TEST_F(DevicesTest, NamedDevicesAreOpenedInTheirOrder) {
  ASSERT_TRUE(Open({"cuda:1", "cpu"}).ok());
  EXPECT_THAT(opened_, ElementsAre("cuda:1 float16", "cpu float32"));
}

TEST_F(DevicesTest, WhatIsNamedMustBeThere) {
  absl::Status status = Open({"cuda:1", "cuda:2"});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(),
            "--device=cuda:2: there is no such GPU; --device=auto starts without any GPU");
  broken_ = absl::UnavailableError("too old");
  EXPECT_THAT(std::string(Open({"cuda"}).message()), StartsWith("--device=cuda: too old; "));
  gpus_ = absl::UnavailableError("no driver");
  EXPECT_THAT(std::string(Open({"cuda"}).message()), StartsWith("--device=cuda: no driver; "));
}

TEST_F(DevicesTest, AProgramWithoutCudaSaysHowToGetOneThatHasIt) {
  if (!absl::IsUnimplemented(DeviceSource::ThisMachine().count_gpus().status())) {
    GTEST_SKIP() << "this program has CUDA";
  }
  source_ = DeviceSource::ThisMachine();
  EXPECT_THAT(std::string(Open({"cuda"}).message()),
              AllOf(StartsWith("--device=cuda: "), HasSubstr("script/build --cuda")));
}

}  // namespace
}  // namespace contextpool::engine
