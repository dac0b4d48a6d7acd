#include "clients/cli/bench/offered.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

OfferEvidence Evidence() {
  return {.rate_per_s = 100, .scheduled = 1000, .sent = 1000, .late = 0, .worst_lag = 4ms};
}

TEST(LagTolerance, IsATenthOfTheGapButAtLeast5Milliseconds) {
  EXPECT_EQ(LagTolerance(1), 100ms);
  EXPECT_EQ(LagTolerance(10), 10ms);
  EXPECT_EQ(LagTolerance(1000), 5ms);
}

TEST(WhyNotOffered, ALoadThatWasSentInTimeIsOffered) { EXPECT_EQ(WhyNotOffered(Evidence()), ""); }

TEST(WhyNotOffered, TooFewCallsSent) {
  OfferEvidence evidence = Evidence();
  evidence.sent = 990;
  EXPECT_EQ(WhyNotOffered(evidence), "");
  evidence.sent = 989;
  EXPECT_EQ(WhyNotOffered(evidence), "only 989 of 1000 calls could be sent in time");
}

TEST(WhyNotOffered, TooManyCallsLate) {
  OfferEvidence evidence = Evidence();
  evidence.late = 10;
  EXPECT_EQ(WhyNotOffered(evidence), "");
  evidence.late = 11;
  evidence.worst_lag = 80ms;
  EXPECT_EQ(WhyNotOffered(evidence),
            "1.1% of the calls were sent more than 5ms late, the worst 80.0 ms");
}

TEST(WhyNotOffered, OneLateCallOfFewIsAllowed) {
  OfferEvidence evidence = Evidence();
  evidence.scheduled = evidence.sent = 20;
  evidence.late = 1;
  EXPECT_EQ(WhyNotOffered(evidence), "");
  evidence.late = 2;
  EXPECT_NE(WhyNotOffered(evidence), "");
}

TEST(WhyNotOffered, AClosedLoopIsNeverLate) {
  OfferEvidence evidence = Evidence();
  evidence.rate_per_s.reset();
  evidence.late = 500;
  EXPECT_EQ(WhyNotOffered(evidence), "");
}

TEST(WhyNotOffered, CallsMayHaveWaitedInsideTheClient) {
  OfferEvidence evidence = Evidence();
  evidence.most_on_connection = 1000;
  EXPECT_EQ(WhyNotOffered(evidence), "");
  evidence.most_on_connection = 1001;
  EXPECT_THAT(WhyNotOffered(evidence), HasSubstr("1001 calls were in flight on one connection"));
  EXPECT_THAT(WhyNotOffered(evidence), HasSubstr("raise --connections"));
}

TEST(WhyNotOffered, AFullClientMeasuresItself) {
  OfferEvidence evidence = Evidence();
  evidence.rate_per_s.reset();
  evidence.collector_busy = 0.89;
  EXPECT_EQ(WhyNotOffered(evidence), "");
  evidence.collector_busy = 0.95;
  EXPECT_THAT(WhyNotOffered(evidence), HasSubstr("95% busy: this client is full"));
}

TEST(WhyNotOffered, NothingWasDue) {
  EXPECT_THAT(WhyNotOffered({.rate_per_s = 0.01}), HasSubstr("raise --duration"));
}

}  // namespace
}  // namespace contextpool::cli::bench
