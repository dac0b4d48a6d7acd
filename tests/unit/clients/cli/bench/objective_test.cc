#include "clients/cli/bench/objective.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

EndedCall CallOf(Nanoseconds latency) {
  EndedCall call;
  call.due = call.sent = Time(1000s);
  call.ended = call.due + latency;
  call.on_connection = 1;
  call.reply.inputs = 1;
  return call;
}

class ObjectiveWatchTest : public testing::Test {
 protected:
  std::string WhyLostAfter(int calls, const EndedCall& call) {
    ObjectiveWatch watch({.p99 = 20ms, .max_errors = 0.002}, 100, 1000);
    for (int i = 0; i < calls; ++i) watch.Count(call);
    return watch.WhyLost(0);
  }
};

TEST_F(ObjectiveWatchTest, IsLostWhenMoreThan1PercentMissedIt) {
  EXPECT_EQ(WhyLostAfter(1000, CallOf(20ms)), "");
  EXPECT_EQ(WhyLostAfter(10, CallOf(21ms)), "");
  EXPECT_EQ(WhyLostAfter(11, CallOf(21ms)), "given up: by then 11 of 1000 calls had missed 20ms");
}

TEST_F(ObjectiveWatchTest, IsLostWhenMoreCallsFailedThanItAllows) {
  EndedCall refused = CallOf(1ms);
  refused.status = {grpc::StatusCode::RESOURCE_EXHAUSTED, "full"};
  EXPECT_EQ(WhyLostAfter(2, refused), "");
  EXPECT_THAT(WhyLostAfter(3, refused), HasSubstr("3 of 1000 calls were not OK"));
  EndedCall partial = CallOf(1ms);
  partial.reply.failed_inputs = 1;
  EXPECT_EQ(WhyLostAfter(2, partial), "");
  EXPECT_THAT(WhyLostAfter(3, partial), HasSubstr("not whole"));
}

TEST_F(ObjectiveWatchTest, CallsInFlightThatAreOverdueCount) {
  ObjectiveWatch watch({.p99 = 20ms, .max_errors = 0.002}, 100, 1000);
  const SentCall call = CallOf(0ms);
  EXPECT_FALSE(watch.IsOverdue(call, call.due + 20ms));
  EXPECT_TRUE(watch.IsOverdue(call, call.due + 21ms));
  EXPECT_EQ(watch.WhyLost(10), "");
  EXPECT_NE(watch.WhyLost(11), "");
}

TEST_F(ObjectiveWatchTest, WhatTheClientDelayedProvesNothing) {
  EndedCall late = CallOf(500ms);
  late.sent += 11ms;
  EXPECT_EQ(WhyLostAfter(1000, late), "");
  EndedCall queued = CallOf(500ms);
  queued.on_connection = 1001;
  EXPECT_EQ(WhyLostAfter(1000, queued), "");
}

}  // namespace
}  // namespace contextpool::cli::bench
