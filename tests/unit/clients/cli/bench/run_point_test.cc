#include "clients/cli/bench/run_point.h"

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>

#include "contextpool/v1/embedding.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;

// A server that can hold its answers back until a number of calls arrived.
class GatedEmbedding : public v1::EmbeddingService::Service {
 public:
  grpc::Status Embed(grpc::ServerContext* context, const v1::EmbedRequest* request,
                     v1::EmbedResponse* response) override {
    std::unique_lock lock(mutex_);
    ++arrived_;
    bulk_ += request->priority() == v1::PRIORITY_BULK;
    const auto left = context->deadline() - std::chrono::system_clock::now();
    with_deadline_ += left < 1h;
    longest_left_ = std::max<Nanoseconds>(longest_left_, std::min<Nanoseconds>(left, 1h));
    peers_.insert(context->peer());
    most_in_flight_ = std::max(most_in_flight_, ++in_flight_);
    gate_.notify_all();
    while (!answers_ && !context->IsCancelled()) gate_.wait_for(lock, 1ms);
    const bool opened = gate_.wait_for(lock, 30s, [&] { return arrived_ >= gate_at_; });
    --in_flight_;
    if (!opened) return {grpc::StatusCode::INTERNAL, "the calls waited for each other"};
    if (refuse_every_ > 0 && arrived_ % refuse_every_ == 0) {
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"};
    }
    for (int i = 0; i < request->inputs_size(); ++i) {
      response->add_results()->mutable_usage()->set_tokens_used(7);
    }
    return grpc::Status::OK;
  }

  // Set before the calls.
  int gate_at_ = 0;
  int refuse_every_ = 0;
  bool answers_ = true;

  // To be read when no call is in flight.
  int arrived_ = 0;
  int bulk_ = 0;
  int with_deadline_ = 0;
  // Of a call's time when it came; an hour where that is more.
  Nanoseconds longest_left_{0};
  int most_in_flight_ = 0;
  std::set<std::string> peers_;

 private:
  std::mutex mutex_;
  std::condition_variable gate_;
  int in_flight_ = 0;
};

class RunPointTest : public testing::Test {
 protected:
  void SetUp() override {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("localhost:0", grpc::InsecureServerCredentials(), &port);
    // A call here takes a thread; of many calls most wait in the client.
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 100);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    address_ = "localhost:" + std::to_string(port);
  }

  PointResult Run(const LoadPoint& point, uint32_t connections = 1, bool stopped = false) {
    Options options;
    options.load = load_;
    const auto workload = Workload::Make(options, {"one", "two", "three"});
    const auto kinds = CallKinds(load_);
    Caller caller({address_, connections, LoadTask::kEmbed}, *workload, kinds);
    EXPECT_TRUE(caller.Connect(10s));
    const std::atomic<bool> stop = stopped;
    return RunPoint(point, kinds, caller,
                    {.stop = stop, .patience = patience_, .objective = objective_});
  }

  static LoadPoint Closed(uint32_t concurrency) {
    LoadPoint point;
    point.concurrency = concurrency;
    point.duration = 200ms;
    return point;
  }

  static LoadPoint Open(double rate, Nanoseconds duration) {
    LoadPoint point;
    point.rate_per_s = rate;
    point.arrivals = ArrivalShape::kConstant;
    point.duration = duration;
    return point;
  }

  static uint64_t Ended(const PointResult& result) {
    uint64_t ended = 0;
    for (const auto& [code, count] : result.all_codes) ended += count;
    return ended;
  }

  LoadOptions load_;
  std::optional<Objective> objective_;
  Nanoseconds patience_ = 60s;
  GatedEmbedding service_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(RunPointTest, AClosedLoopKeepsItsNumberInFlightAndCountsWhatTheServerCounts) {
  service_.gate_at_ = 5;
  load_.batch = 2;
  const PointResult result = Run(Closed(5));
  EXPECT_EQ(service_.most_in_flight_, 5);
  EXPECT_EQ(Ended(result), static_cast<uint64_t>(service_.arrived_));
  const Tally total = result.Total();
  EXPECT_GE(total.calls, 5u);
  EXPECT_EQ(total.inputs, 2 * total.calls);
  EXPECT_EQ(total.tokens, 14 * total.calls);
  EXPECT_GT(result.client_cpu_per_call, 0ns);
}

// No answer comes before the last call was sent: a generator that waits would never get there.
TEST_F(RunPointTest, CallsOfAnOpenLoopDoNotWaitForAnswers) {
  service_.gate_at_ = 20;
  const PointResult result = Run(Open(100, 200ms));
  EXPECT_EQ(result.scheduled, 20u);
  EXPECT_EQ(service_.most_in_flight_, 20);
  const Tally total = result.Total();
  EXPECT_EQ(total.codes.at(grpc::StatusCode::OK), 20u);
  // The call that was due first waited for the last one, which was due 190 ms later.
  EXPECT_GE(total.ok.max(), 190ms);
}

TEST_F(RunPointTest, RefusedCallsAreCountedAndNotTriedAgain) {
  service_.refuse_every_ = 2;
  const PointResult result = Run(Open(100, 200ms));
  const Tally total = result.Total();
  EXPECT_EQ(service_.arrived_, 20);
  EXPECT_EQ(
      total.codes.at(grpc::StatusCode::OK) + total.codes.at(grpc::StatusCode::RESOURCE_EXHAUSTED),
      20u);
  EXPECT_EQ(total.not_ok_calls(), total.codes.at(grpc::StatusCode::RESOURCE_EXHAUSTED));
  EXPECT_EQ(total.ok.count(), total.codes.at(grpc::StatusCode::OK));
}

TEST_F(RunPointTest, SendsTheMixOfClassesAndDeadlines) {
  load_.bulk_share = 0.5;
  load_.deadlines = {{60s, 0.5}, {std::nullopt, 0.5}};
  const PointResult result = Run(Open(500, 400ms));
  ASSERT_EQ(result.kinds.size(), 4u);
  EXPECT_EQ(service_.arrived_, 200);
  EXPECT_EQ(result.kinds[2].calls + result.kinds[3].calls, static_cast<uint64_t>(service_.bulk_));
  EXPECT_EQ(result.kinds[0].calls + result.kinds[2].calls,
            static_cast<uint64_t>(service_.with_deadline_));
  EXPECT_GT(service_.bulk_, 50);
  EXPECT_LT(service_.bulk_, 150);
}

TEST_F(RunPointTest, CallsPastTheirDeadlineAreCountedAsSuch) {
  service_.answers_ = false;
  load_.deadlines = {{20ms, 1}};
  const PointResult result = Run(Open(100, 100ms));
  const Tally total = result.Total();
  EXPECT_EQ(total.codes.at(grpc::StatusCode::DEADLINE_EXCEEDED), 10u);
  EXPECT_EQ(total.good_calls, 0u);
  EXPECT_GE(total.not_ok.Percentile(0.5), 19ms);
  // The wire rounds up to milliseconds.
  EXPECT_LE(service_.longest_left_, 22ms);
}

TEST_F(RunPointTest, CallsWithoutAnAnswerAreCancelledWhenPatienceEnds) {
  service_.answers_ = false;
  patience_ = 50ms;
  const PointResult result = Run(Open(100, 100ms));
  EXPECT_EQ(result.Total().codes.at(grpc::StatusCode::CANCELLED), 10u);
}

TEST_F(RunPointTest, ConnectionsAreUsedInTurn) {
  Run(Open(100, 200ms), 4);
  EXPECT_EQ(service_.peers_.size(), 4u);
}

TEST_F(RunPointTest, ALoadThatWaitsInsideTheClientIsNotOffered) {
  const PointResult one = Run(Closed(1001));
  EXPECT_EQ(one.most_on_connection, 1001u);
  EXPECT_THAT(one.not_offered, testing::HasSubstr("raise --connections"));
  const PointResult two = Run(Closed(1001), 2);
  EXPECT_LT(two.most_on_connection, 1001u);
  EXPECT_EQ(two.most_in_flight, 1001u);
}

// Nothing is answered, so that only calls in flight can tell.
TEST_F(RunPointTest, ARunWhoseObjectiveIsLostEndsAtOnce) {
  service_.answers_ = false;
  objective_ = Objective{.p99 = 20ms};
  const Time begin = Clock::now();
  const PointResult result = Run(Open(10, 60s));
  EXPECT_THAT(result.lost, testing::HasSubstr("of 600 calls had missed 20ms"));
  EXPECT_FALSE(result.interrupted);
  EXPECT_LT(Clock::now() - begin, 30s);
}

TEST_F(RunPointTest, AnInterruptedRunEndsAtOnce) {
  LoadPoint point = Open(10, 3600s);
  const Time begin = Clock::now();
  const PointResult result = Run(point, 1, true);
  EXPECT_TRUE(result.interrupted);
  EXPECT_LT(result.measured, 60s);
  EXPECT_LT(Clock::now() - begin, 60s);
}

// The sender is busy when the run is stopped: what it starts meanwhile must not be waited for.
TEST_F(RunPointTest, CallsThatStartWhileARunIsInterruptedAreCancelledToo) {
  service_.answers_ = false;
  patience_ = 30s;
  const Time begin = Clock::now();
  const PointResult result = Run(Open(5000, 5s), 1, true);
  EXPECT_TRUE(result.interrupted);
  EXPECT_GT(result.abandoned, 0u);
  EXPECT_EQ(Ended(result), 0u);
  EXPECT_LT(Clock::now() - begin, 25s);
}

TEST_F(RunPointTest, SaysWhereNoServerIs) {
  const auto workload = Workload::Make({}, {"one"});
  const auto kinds = CallKinds(load_);
  Caller caller({"localhost:1", 2, LoadTask::kEmbed}, *workload, kinds);
  EXPECT_FALSE(caller.Connect(50ms));
}

}  // namespace
}  // namespace contextpool::cli::bench
