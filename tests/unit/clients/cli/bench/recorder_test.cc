#include "clients/cli/bench/recorder.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;

const Time kBegin = Time(1000s);

// Measured from 1 s to 11 s.
LoadPoint OpenPoint() {
  LoadPoint point;
  point.rate_per_s = 100;
  point.warmup = 1s;
  point.duration = 10s;
  return point;
}

EndedCall OkCall(Nanoseconds due, Nanoseconds latency, Nanoseconds lag = 0ms) {
  EndedCall call;
  call.due = kBegin + due;
  call.sent = call.due + lag;
  call.ended = call.due + latency;
  call.reply = {.inputs = 2, .tokens = 30};
  return call;
}

EndedCall FailedCall(Nanoseconds due, Nanoseconds latency, grpc::StatusCode code) {
  EndedCall call = OkCall(due, latency);
  call.status = {code, "no"};
  call.reply = {};
  return call;
}

class RecorderTest : public testing::Test {
 protected:
  PointResult Record(const std::vector<EndedCall>& calls,
                     std::optional<uint64_t> scheduled = std::nullopt) {
    Recorder recorder(OpenPoint(), kinds_, kBegin);
    for (const EndedCall& call : calls) recorder.Record(call);
    return recorder.Finish(scheduled, 0);
  }

  std::vector<CallKind> kinds_ = {{}};
};

TEST_F(RecorderTest, CallsDueInTheWarmUpOrAfterTheEndAreNotMeasured) {
  const PointResult result =
      Record({OkCall(999ms, 5ms), OkCall(1s, 5ms), OkCall(10999ms, 5ms), OkCall(11s, 5ms)});
  EXPECT_EQ(result.Total().calls, 2u);
  EXPECT_EQ(result.all_codes.at(grpc::StatusCode::OK), 4u);
}

TEST_F(RecorderTest, LatencyCountsFromTheDueTimeNotFromTheSending) {
  const PointResult result = Record({OkCall(2s, 50ms, 45ms)});
  EXPECT_EQ(result.Total().ok.max(), 50ms);
  EXPECT_EQ(result.lag.max(), 45ms);
  EXPECT_EQ(result.late, 1u);
}

TEST_F(RecorderTest, ABacklogCountsAsLatencyAndNotAsThroughput) {
  // Due while measured, answered after: offered, slow, and no throughput.
  const PointResult late = Record({OkCall(2s, 5ms), OkCall(10s, 30s)});
  EXPECT_EQ(late.Total().calls, 2u);
  EXPECT_EQ(late.Total().ok.max(), 30s);
  EXPECT_EQ(late.Total().in_window.ok_calls, 1u);
  EXPECT_EQ(late.Total().in_window.inputs, 2u);
  EXPECT_EQ(late.Total().in_window.tokens, 30u);
  // Due in the warm-up, answered while measured: the other way round.
  const PointResult early = Record({OkCall(500ms, 1s)});
  EXPECT_EQ(early.Total().calls, 0u);
  EXPECT_EQ(early.Total().in_window.ok_calls, 1u);
}

TEST_F(RecorderTest, RefusalsAreCountedByCodeWithTheirOwnLatency) {
  const PointResult result =
      Record({OkCall(2s, 50ms), FailedCall(2s, 1ms, grpc::StatusCode::RESOURCE_EXHAUSTED),
              FailedCall(3s, 2ms, grpc::StatusCode::RESOURCE_EXHAUSTED),
              FailedCall(3s, 9ms, grpc::StatusCode::UNAVAILABLE)});
  const Tally total = result.Total();
  EXPECT_EQ(total.codes.at(grpc::StatusCode::RESOURCE_EXHAUSTED), 2u);
  EXPECT_EQ(total.codes.at(grpc::StatusCode::UNAVAILABLE), 1u);
  EXPECT_EQ(total.not_ok_calls(), 3u);
  EXPECT_EQ(total.not_ok.max(), 9ms);
  EXPECT_EQ(total.ok.count(), 1u);
  EXPECT_EQ(total.in_window.ok_calls, 1u);
  EXPECT_FALSE(OfferedPercentile(total, 0.5).has_value());
  EXPECT_EQ(OfferedPercentile(total, 0.25), 50ms);
}

TEST_F(RecorderTest, GoodCallsAreOkWholeAndInTime) {
  kinds_[0].deadline = 20ms;
  EndedCall broken = OkCall(2s, 5ms);
  broken.reply.failed_inputs = 1;
  const PointResult result = Record({OkCall(2s, 20ms), OkCall(2s, 21ms), broken,
                                     FailedCall(2s, 5ms, grpc::StatusCode::RESOURCE_EXHAUSTED)});
  EXPECT_EQ(result.Total().good_calls, 1u);
  EXPECT_EQ(result.Total().in_window.good_calls, 1u);
  EXPECT_EQ(result.Total().failed_inputs, 1u);
  EXPECT_EQ(result.Total().partial_calls, 1u);
}

TEST_F(RecorderTest, MeasuredCallsTellHowManyWereInFlight) {
  EndedCall warm_up = OkCall(999ms, 5ms);
  warm_up.on_connection = warm_up.in_flight = 5000;
  EndedCall first = OkCall(2s, 5ms);
  first.on_connection = 1000;
  first.in_flight = 3001;
  EndedCall second = OkCall(3s, 5ms);
  EXPECT_EQ(Record({warm_up, first, second}).most_in_flight, 3001u);
  EXPECT_EQ(Record({warm_up, first, second}).not_offered, "");
  second.on_connection = 1001;
  EXPECT_THAT(Record({warm_up, first, second}).not_offered, testing::HasSubstr("--connections"));
}

TEST_F(RecorderTest, KindsAreCountedApart) {
  kinds_.resize(2);
  kinds_[1].bulk = true;
  EndedCall bulk = OkCall(2s, 90ms);
  bulk.kind = 1;
  const PointResult result = Record({OkCall(2s, 5ms), OkCall(3s, 5ms), bulk});
  EXPECT_EQ(result.kinds[0].calls, 2u);
  EXPECT_EQ(result.kinds[1].calls, 1u);
  EXPECT_EQ(result.kinds[1].ok.max(), 90ms);
  EXPECT_EQ(result.Total().calls, 3u);
}

TEST_F(RecorderTest, CallsThatWereNeverSentMakeTheLoadNotOffered) {
  EXPECT_EQ(Record({OkCall(2s, 5ms)}, 1).not_offered, "");
  EXPECT_NE(Record({OkCall(2s, 5ms)}, 2).not_offered, "");
}

TEST_F(RecorderTest, AnInterruptionShortensWhatIsMeasured) {
  Recorder recorder(OpenPoint(), kinds_, kBegin);
  recorder.Record(OkCall(2s, 5ms));
  recorder.Interrupt(kBegin + 4s, 1);
  const PointResult result = recorder.Finish(2, 0);
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.measured, 3s);
  EXPECT_EQ(result.not_offered, "");
  EXPECT_EQ(recorder.end(), kBegin + 4s);
}

TEST_F(RecorderTest, AnInterruptedWarmUpMeasuredNothing) {
  Recorder recorder(OpenPoint(), kinds_, kBegin);
  recorder.Interrupt(kBegin + 500ms, 0);
  EXPECT_EQ(recorder.Finish(0, 0).measured, 0s);
}

}  // namespace
}  // namespace contextpool::cli::bench
