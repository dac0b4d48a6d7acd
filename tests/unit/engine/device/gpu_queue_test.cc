#include "engine/device/gpu_queue.h"

#include <functional>
#include <new>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_gpu_runtime.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class GpuQueueTest : public ::testing::Test {
 protected:
  void Multiply(int64_t rows) { queue_.Add(GpuGemmParams{.weight = memory_, .rows = rows}); }
  void Normalize() { queue_.Add(kernels::LayerNormParams{.x = memory_}); }

  // A number goes in, something is computed, and the number comes back.
  std::string Pass(const std::string& number, int64_t rows = 1) {
    std::string result(number.size(), '-');
    EXPECT_EQ(PassTo(result, number, rows), absl::OkStatus());
    return result;
  }
  absl::Status PassTo(std::string& result, const std::string& number, int64_t rows) {
    queue_.CopyToDevice(memory_, number.data(), number.size());
    Multiply(rows);
    queue_.CopyToHost(result.data(), memory_, result.size());
    return queue_.Synchronize();
  }

  // A small pass and a large one that `fail` lets fail: nothing comes back, and the next is right.
  void ExpectTheNextIsRight(const absl::Status& failure, const std::function<void()>& fail) {
    for (int64_t rows : {int64_t{1}, GpuQueue::kSmallRows + 1}) {
      SCOPED_TRACE(absl::StrCat(rows, " rows"));
      std::string result = "-";
      fail();
      EXPECT_EQ(PassTo(result, "1", rows), failure);
      EXPECT_EQ(result, "-");
      EXPECT_EQ(Pass("2", rows), "2");
    }
  }

  testing::FakeGpuRuntime runtime_;
  GpuQueue queue_{runtime_, testing::kFakeKernels};
  alignas(64) char memory_[512] = {};
};

TEST_F(GpuQueueTest, WhatLiesTogetherOnTheGpuIsCopiedTogether) {
  const std::string ids(100, 'i'), lengths(64, 'l'), segments(8, 's');
  queue_.CopyToDevice(memory_, ids.data(), ids.size());
  queue_.CopyToDevice(memory_ + 128, lengths.data(), lengths.size());
  queue_.CopyToDevice(memory_ + 192, segments.data(), segments.size());
  Normalize();
  EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
  EXPECT_THAT(runtime_.Diary(), ElementsAre("in 200", "layer norm"));
  EXPECT_EQ(std::string(memory_, 100), ids);
  EXPECT_EQ(std::string(memory_ + 128, 64), lengths);
  EXPECT_EQ(std::string(memory_ + 192, 8), segments);
}

TEST_F(GpuQueueTest, WhatLiesApartIsCopiedApart) {
  queue_.CopyToDevice(memory_, "one", 3);
  queue_.CopyToDevice(memory_ + 128, "two", 3);
  Normalize();
  queue_.CopyToDevice(memory_ + 192, "three", 5);
  EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
  EXPECT_THAT(runtime_.Diary(), ElementsAre("in 3", "in 3", "layer norm", "in 5"));
}

TEST_F(GpuQueueTest, WhatIsStagedApartIsCopiedApart) {
  // More than one block of page-locked memory.
  const std::string first(1 << 16, 'f'), second(64, 's');
  std::vector<char> place(first.size() + second.size());
  queue_.CopyToDevice(place.data(), first.data(), first.size());
  queue_.CopyToDevice(place.data() + first.size(), second.data(), second.size());
  EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
  EXPECT_EQ(std::string(place.data(), place.size()), first + second);
}

TEST_F(GpuQueueTest, CopiesOfALargePassWaitForEachOther) {
  Multiply(GpuQueue::kSmallRows + 1);
  queue_.CopyToDevice(memory_, "one", 3);
  queue_.CopyToDevice(memory_ + 64, "two", 3);
  Normalize();
  EXPECT_THAT(runtime_.Diary(), ElementsAre("product 257", "in 67", "layer norm"));
  EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
}

TEST_F(GpuQueueTest, TheMemoryThatIsCopiedFromIsFreeAtOnce) {
  std::string text = "text";
  queue_.CopyToDevice(memory_, text.data(), text.size());
  text = "gone";
  EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
  EXPECT_EQ(std::string(memory_, 4), "text");
}

TEST_F(GpuQueueTest, ASmallPassIsQueuedAtItsEndALargeOneAsItComes) {
  Normalize();
  Multiply(GpuQueue::kSmallRows);
  EXPECT_THAT(runtime_.Diary(), IsEmpty());
  Multiply(GpuQueue::kSmallRows + 1);
  EXPECT_THAT(runtime_.Diary(), ElementsAre("layer norm", "product 256", "product 257"));
  Normalize();
  EXPECT_THAT(runtime_.Diary(), ElementsAre("layer norm"));
  EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
  Multiply(1);
  EXPECT_THAT(runtime_.Diary(), IsEmpty()) << "the next pass is small again";
  EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
}

TEST_F(GpuQueueTest, EqualSmallPassesAreQueuedThenRecordedThenReplayed) {
  EXPECT_EQ(Pass("1"), "1");
  EXPECT_THAT(runtime_.Diary(), ElementsAre("in 1", "product 1", "out 1"));
  EXPECT_EQ(Pass("2"), "2");
  EXPECT_THAT(runtime_.Diary(), ElementsAre("record", "in 1", "product 1", "out 1", "graph"));
  EXPECT_EQ(Pass("3"), "3");
  EXPECT_THAT(runtime_.Diary(), ElementsAre("graph"));
}

TEST_F(GpuQueueTest, APassThatDiffersInOneNumberIsAnotherOne) {
  for (int i = 0; i < 3; ++i) Pass("1");
  runtime_.Diary();
  EXPECT_EQ(Pass("12"), "12");
  EXPECT_THAT(runtime_.Diary(), ElementsAre("in 2", "product 1", "out 2"));
  EXPECT_EQ(Pass("1", 2), "1");
  EXPECT_THAT(runtime_.Diary(), ElementsAre("in 1", "product 2", "out 1"));
}

TEST_F(GpuQueueTest, ForgottenPassesAreQueuedAndRecordedAnew) {
  for (int i = 0; i < 3; ++i) Pass("1");
  queue_.ForgetPasses();
  runtime_.Diary();
  EXPECT_EQ(Pass("4"), "4");
  EXPECT_THAT(runtime_.Diary(), ElementsAre("in 1", "product 1", "out 1"));
  EXPECT_EQ(runtime_.graphs_alive, 0);
  EXPECT_EQ(Pass("5"), "5");
  EXPECT_EQ(runtime_.graphs_alive, 1);
}

TEST_F(GpuQueueTest, StagingThatGrewIsInNoGraph) {
  for (int i = 0; i < 3; ++i) Pass("1");
  const std::string much(1 << 20, 'm');
  std::vector<char> place(much.size());
  queue_.CopyToDevice(place.data(), much.data(), much.size());
  EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
  Pass("2");
  EXPECT_EQ(runtime_.graphs_alive, 0);
}

TEST_F(GpuQueueTest, LargePassesAreNotRecorded) {
  for (int i = 0; i < 3; ++i) {
    Pass("1", GpuQueue::kSmallRows + 1);
    EXPECT_THAT(runtime_.Diary(), ElementsAre("in 1", "product 257", "out 1"));
  }
}

TEST_F(GpuQueueTest, WithoutGraphsEveryPassIsQueued) {
  runtime_.records = false;
  for (const char* number : {"1", "2", "3"}) {
    EXPECT_EQ(Pass(number), number);
    EXPECT_THAT(runtime_.Diary(), ElementsAre("in 1", "product 1", "out 1"));
  }
}

TEST_F(GpuQueueTest, AGraphThatCannotBeMadeCostsNoAnswer) {
  Pass("1");
  runtime_.next_capture = absl::InternalError("too many nodes");
  EXPECT_EQ(Pass("2"), "2");
  EXPECT_EQ(runtime_.graphs_alive, 0);
  EXPECT_EQ(Pass("3"), "3");
  EXPECT_EQ(runtime_.graphs_alive, 1) << "the next pass may have more luck";
}

TEST_F(GpuQueueTest, AGraphThatCannotBeLaunchedCostsNoAnswer) {
  for (int i = 0; i < 3; ++i) Pass("1");
  runtime_.next_graph = absl::ResourceExhaustedError("no room for a graph");
  EXPECT_EQ(Pass("4"), "4");
  EXPECT_EQ(runtime_.graphs_alive, 0);
  EXPECT_EQ(Pass("5"), "5");
}

TEST_F(GpuQueueTest, ARecordingThatCannotBeginCostsNoAnswer) {
  Pass("1");
  runtime_.next_begin = absl::InternalError("another capture");
  EXPECT_EQ(Pass("2"), "2");
  EXPECT_EQ(runtime_.graphs_alive, 0);
  EXPECT_EQ(Pass("3"), "3");
  EXPECT_EQ(runtime_.graphs_alive, 1) << "the next pass may have more luck";
}

TEST_F(GpuQueueTest, AnOperationThatCannotBeRecordedCostsNoAnswer) {
  Pass("1");
  runtime_.next_product = absl::InternalError("not while recording");
  EXPECT_EQ(Pass("2"), "2");
  EXPECT_EQ(runtime_.graphs_alive, 0);
  EXPECT_EQ(Pass("3"), "3");
}

TEST_F(GpuQueueTest, ForgetsThePassThatCameLastTheLongestAgo) {
  const auto passes = static_cast<int64_t>(GpuQueue::kMaxPasses);
  ASSERT_LE(passes, 2 * GpuQueue::kSmallRows);
  // As many different ones as are remembered.
  const auto pass = [&](int64_t i) {
    Pass(i % 2 == 0 ? "n" : "nn", 1 + i / 2);
    return runtime_.Diary();
  };
  for (int64_t i = 0; i < passes; ++i) {
    pass(i);
    pass(i);
  }
  EXPECT_EQ(runtime_.graphs_alive, passes);
  EXPECT_THAT(pass(0), ElementsAre("graph"));
  Pass("new");
  EXPECT_EQ(runtime_.graphs_alive, passes - 1);
  runtime_.Diary();
  EXPECT_THAT(pass(0), ElementsAre("graph"));
  EXPECT_THAT(pass(2), ElementsAre("graph"));
  EXPECT_THAT(pass(1), ElementsAre("in 2", "product 1", "out 2"));
}

TEST_F(GpuQueueTest, RemembersSoManyPassesAndNoMore) {
  for (size_t rows = 1; rows <= 3 * GpuQueue::kMaxPasses; ++rows) {
    std::string number(1 + rows, 'x');
    number.resize(1 + rows % 500);
    Pass(number, 1 + static_cast<int64_t>(rows / 500));
    Pass(number, 1 + static_cast<int64_t>(rows / 500));
    ASSERT_LE(runtime_.graphs_alive, static_cast<int>(GpuQueue::kMaxPasses));
  }
  EXPECT_GT(runtime_.graphs_alive, 0);
}

TEST_F(GpuQueueTest, ResultsArriveWhenThePassHasEnded) {
  memory_[0] = 'r';
  char result = '-';
  queue_.CopyToHost(&result, memory_, 1);
  Multiply(GpuQueue::kSmallRows + 1);
  EXPECT_EQ(result, '-');
  EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
  EXPECT_EQ(result, 'r');
}

TEST_F(GpuQueueTest, StagingGrowsToThePassAndThenStays) {
  const std::string much(1 << 20, 'm');
  std::vector<char> place(much.size());
  const auto pass = [&] {
    for (int i = 0; i < 3; ++i) queue_.CopyToDevice(place.data(), much.data(), much.size());
    EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
  };
  pass();
  pass();
  const int warm = runtime_.host_allocations;
  for (int i = 0; i < 5; ++i) pass();
  EXPECT_EQ(runtime_.host_allocations, warm);
  EXPECT_EQ(std::string(place.data(), place.size()), much);
}

TEST_F(GpuQueueTest, TheFirstFailureSticksUntilItIsReported) {
  char result = '-';
  runtime_.next_launch = kernels::Status::kLaunchFailed;
  Multiply(GpuQueue::kSmallRows + 1);
  Normalize();
  queue_.Add(kernels::PoolParams{});
  queue_.CopyToHost(&result, memory_, 1);
  EXPECT_THAT(runtime_.Diary(), ElementsAre("product 257"));
  EXPECT_EQ(queue_.Synchronize(), absl::InternalError("device fake:0: launch: no room"));
  EXPECT_EQ(result, '-');
  EXPECT_EQ(Pass("1"), "1") << "the next pass begins anew";
}

TEST_F(GpuQueueTest, AfterACopyThatFailedTheNextPassIsRight) {
  const absl::Status failure = absl::InternalError("device fake:0: cudaMemcpyAsync: no");
  ExpectTheNextIsRight(failure, [&] { runtime_.next_copy = failure; });
}

TEST_F(GpuQueueTest, AfterAProductThatFailedTheNextPassIsRight) {
  const absl::Status failure = absl::InternalError("device fake:0: cublasLtMatmul: no");
  ExpectTheNextIsRight(failure, [&] { runtime_.next_product = failure; });
}

TEST_F(GpuQueueTest, WithoutPageLockedMemoryThePassFailsAndTheNextIsRight) {
  std::string result = "-";
  runtime_.next_allocation = absl::ResourceExhaustedError("no memory");
  EXPECT_EQ(PassTo(result, "1", 1), absl::ResourceExhaustedError("no memory"));
  EXPECT_EQ(result, "-");
  EXPECT_THAT(runtime_.Diary(), IsEmpty());
  EXPECT_EQ(Pass("2"), "2");
}

// As when there is no memory of the host.
TEST_F(GpuQueueTest, ASmallPassThatThrowsIsWaitedForAndLeavesNothingToTheNext) {
  for (const char* first_or_recorded : {"first", "recorded"}) {
    std::string result = "-";
    runtime_.synchronized = 0;
    runtime_.next_product_throws = true;
    EXPECT_THROW(PassTo(result, "1", 1).IgnoreError(), std::bad_alloc) << first_or_recorded;
    EXPECT_EQ(runtime_.synchronized, 1);
    EXPECT_EQ(result, "-");
    EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
    EXPECT_EQ(result, "-") << "it must not arrive later";
  }
  runtime_.Diary();
  EXPECT_EQ(Pass("2"), "2");
  EXPECT_THAT(runtime_.Diary(), ElementsAre("record", "in 1", "product 1", "out 1", "graph"));
}

TEST_F(GpuQueueTest, ALargePassThatThrowsQueuesNothingTwice) {
  queue_.CopyToDevice(memory_, "1", 1);
  runtime_.next_product_throws = true;
  EXPECT_THROW(Multiply(GpuQueue::kSmallRows + 1), std::bad_alloc);
  EXPECT_EQ(queue_.Synchronize(), absl::OkStatus());
  EXPECT_THAT(runtime_.Diary(), ElementsAre("in 1"));
  EXPECT_EQ(Pass("2"), "2");
}

TEST_F(GpuQueueTest, ALostGpuIsSaidToBeLostWhateverWasThrownBefore) {
  std::string result = "-";
  runtime_.next_product_throws = true;
  runtime_.next_synchronize = absl::DataLossError("device fake:0: an illegal address");
  EXPECT_EQ(PassTo(result, "1", 1), absl::DataLossError("device fake:0: an illegal address"));
}

TEST_F(GpuQueueTest, ARefusalNamesTheOperation) {
  runtime_.next_launch = kernels::Status::kBadShape;
  Normalize();
  EXPECT_EQ(queue_.Synchronize(), absl::UnimplementedError("device fake:0: LayerNorm: bad shape"));
}

TEST_F(GpuQueueTest, ALaunchThatFailedIsNoRefusalEvenIfTheRuntimeKnowsOfNothing) {
  runtime_.next_launch = kernels::Status::kLaunchFailed;
  runtime_.launch_failure = absl::OkStatus();
  Normalize();
  EXPECT_EQ(queue_.Synchronize(), absl::InternalError("device fake:0: LayerNorm: launch failed"));
}

TEST_F(GpuQueueTest, ALostGpuIsSaidToBeLostWhateverFailedBefore) {
  runtime_.next_launch = kernels::Status::kLaunchFailed;
  Normalize();
  runtime_.next_synchronize = absl::DataLossError("device fake:0: an illegal address");
  EXPECT_EQ(queue_.Synchronize(), absl::DataLossError("device fake:0: an illegal address"));
}

TEST_F(GpuQueueTest, ALostGpuDeliversNothing) {
  char result = '-';
  queue_.CopyToHost(&result, memory_, 1);
  runtime_.next_synchronize = absl::DataLossError("device fake:0: an illegal address");
  EXPECT_EQ(queue_.Synchronize(), absl::DataLossError("device fake:0: an illegal address"));
  EXPECT_EQ(result, '-');
}

}  // namespace
}  // namespace contextpool::engine
