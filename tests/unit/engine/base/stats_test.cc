#include "engine/base/stats.h"

#include <thread>
#include <vector>

#include "engine/base/retry.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

TEST(HistogramTest, CountsAValueInTheFirstBucketThatHoldsIt) {
  const std::vector<double> bounds = {1, 2, 4};
  Histogram histogram(bounds);
  for (double value : {0.5, 1.0, 1.5, 4.0, 9.0}) histogram.Observe(value);
  const HistogramSnapshot snapshot = histogram.Snapshot();
  EXPECT_EQ(snapshot.bounds, bounds);
  EXPECT_EQ(snapshot.counts, (std::vector<uint64_t>{2, 1, 1, 1}));
  EXPECT_DOUBLE_EQ(snapshot.sum, 16.0);
}

TEST(HistogramTest, TimeBoundsResolveHundredMicrosecondsToThirtySeconds) {
  const std::vector<double>& bounds = Histogram::TimeBounds();
  EXPECT_DOUBLE_EQ(bounds.front(), 1e-4);
  EXPECT_GE(bounds.back(), 30.0);
  for (size_t i = 1; i < bounds.size(); ++i) {
    EXPECT_NEAR(bounds[i] / bounds[i - 1], 1.41421356, 1e-6);
  }
}

TEST(HistogramTest, LosesNothingUnderConcurrentUse) {
  Histogram histogram(Histogram::CountBounds());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10000; ++i) histogram.Observe(1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const HistogramSnapshot snapshot = histogram.Snapshot();
  EXPECT_EQ(snapshot.counts[0], 40000u);
  EXPECT_DOUBLE_EQ(snapshot.sum, 40000.0);
}

TEST(RetryDelayTest, TravelsInsideTheStatus) {
  absl::Status status = absl::ResourceExhaustedError("full");
  EXPECT_FALSE(RetryDelay(status).has_value());
  SetRetryDelay(status, std::chrono::milliseconds(250));
  EXPECT_EQ(RetryDelay(status), Duration(std::chrono::milliseconds(250)));
}

}  // namespace
}  // namespace contextpool::engine
