#include "clients/cli/bench/collector_load.h"

#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;

const Time kBegin = Time(1000s);

TEST(CollectorLoad, IsTheShareOfTheMeasuredTime) {
  CollectorLoad load(kBegin, kBegin + 10s);
  load.Look(kBegin, 1s);
  load.Look(kBegin + 4s, 3s);
  load.Look(kBegin + 8s, 7s);
  EXPECT_DOUBLE_EQ(load.Share(), 0.75);
}

TEST(CollectorLoad, IdleWarmUpAndWaitingForTheLastAnswersDoNotDiluteIt) {
  CollectorLoad load(kBegin, kBegin + 10s);
  load.Look(kBegin - 5s, 0s);
  load.Look(kBegin, 0s);
  load.Look(kBegin + 9s, 9s);
  load.Look(kBegin + 10s, 9s);
  load.Look(kBegin + 70s, 9s);
  EXPECT_DOUBLE_EQ(load.Share(), 1);
}

TEST(CollectorLoad, IsUnknownWithoutTwoLooks) {
  CollectorLoad load(kBegin, kBegin + 10s);
  EXPECT_EQ(load.Share(), 0);
  load.Look(kBegin + 1s, 1s);
  EXPECT_EQ(load.Share(), 0);
}

}  // namespace
}  // namespace contextpool::cli::bench
