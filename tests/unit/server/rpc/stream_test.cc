// EmbedStream and ClassifyStream over loopback, with a fake engine behind them.
#include "server/rpc/stream.h"

#include <chrono>
#include <optional>
#include <thread>

#include "engine/base/retry.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "tests/unit/server/rpc/server_fixture.h"

namespace contextpool::server {
namespace {

using ::testing::HasSubstr;

constexpr int kWindow = static_cast<int>(Stream::kMaxMessages);
constexpr int kWindowMiB = static_cast<int>(Stream::kMaxBytes >> 20);

// A request whose answer can be told from others: it has so many results.
v1::EmbedRequest Numbered(int number) { return EmbedTexts(std::vector<std::string>(number, "x")); }

// One open EmbedStream.
class Client {
 public:
  explicit Client(v1::EmbeddingService::Stub& stub,
                  std::optional<std::chrono::seconds> timeout = {}) {
    if (timeout) context.set_deadline(std::chrono::system_clock::now() + *timeout);
    stream_ = stub.EmbedStream(&context);
  }
  ~Client() {
    if (!finished_) Finish();
  }

  void Send(const v1::EmbedRequest& request) { EXPECT_TRUE(stream_->Write(request)); }
  void SendNumbered(int first, int last) {
    for (int i = first; i <= last; ++i) Send(Numbered(i));
  }
  void HalfClose() { stream_->WritesDone(); }

  // The number of results of the next reply, or minus the code of its error; 0 at the end.
  int Next() {
    v1::EmbedStreamResponse reply;
    if (!stream_->Read(&reply)) return 0;
    last_error_ = reply.error();
    return reply.has_error() ? -reply.error().code() : reply.response().results_size();
  }
  const google::rpc::Status& last_error() const { return last_error_; }

  grpc::Status Finish() {
    finished_ = true;
    return stream_->Finish();
  }

  grpc::ClientContext context;

 private:
  std::unique_ptr<grpc::ClientReaderWriter<v1::EmbedRequest, v1::EmbedStreamResponse>> stream_;
  google::rpc::Status last_error_;
  bool finished_ = false;
};

class StreamTest : public ServerFixture {
 protected:
  StreamTest() : ServerFixture(/*max_in_flight=*/1000) {}

  // The engine's requests once it gets no more and all are answered, or after long enough.
  int64_t RequestsOnceQuiet() {
    for (int attempt = 0; attempt < 100; ++attempt) {
      const int64_t requests = engine_.requests();
      for (int i = 0; i < 5; ++i) RoundTrips();
      if (engine_.requests() == requests && admission_.requests() == 0) break;
    }
    return engine_.requests();
  }

  // Sends many messages, whose replies are of so many numbers, and reads no reply.
  void SendWithoutReading(Client& client, int messages, int dimensions) {
    engine_.AddModel("encoder", {},
                     [&](engine::ModelInfo& model) { model.embedding_dimensions = dimensions; });
    for (int i = 0; i < messages; ++i) client.Send(Numbered(1));
    client.HalfClose();
  }

  double Messages(absl::StatusCode code, const std::string& model = "encoder") {
    return Calls(Endpoint::kEmbedStream, code, model);
  }
};

TEST_F(StreamTest, EachMessageIsAnsweredAndCountedAsACall) {
  Client client(*embedding_);
  client.SendNumbered(1, 3);
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(client.Next(), i);
  client.HalfClose();
  EXPECT_EQ(client.Next(), 0);
  EXPECT_TRUE(client.Finish().ok());
  EXPECT_EQ(Messages(absl::StatusCode::kOk), 3);
  EXPECT_EQ(Unanswered(), 0);
}

TEST_F(StreamTest, ClassifyStreamAnswersWithScores) {
  grpc::ClientContext context;
  auto stream = classification_->ClassifyStream(&context);
  ASSERT_TRUE(stream->Write(ClassifyTexts({"a"})));
  ASSERT_TRUE(stream->Write({}));
  stream->WritesDone();
  v1::ClassifyStreamResponse reply;
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_EQ(reply.response().results(0).classification().scores(0).label(), "positive");
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_THAT(reply.error().message(), HasSubstr("inputs: empty"));
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(Calls(Endpoint::kClassifyStream, absl::StatusCode::kOk, "classifier"), 1);
}

TEST_F(StreamTest, RepliesKeepTheOrderOfRequestsWhateverIsDoneFirst) {
  engine_.Hold();
  Client client(*embedding_);
  client.SendNumbered(1, 8);
  engine_.WaitForHeld(8);
  for (int i = 0; i < 8; ++i) engine_.ReleaseLast();
  for (int i = 1; i <= 8; ++i) EXPECT_EQ(client.Next(), i);
  client.HalfClose();
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(StreamTest, BadMessagesAreAnsweredInTheirPlaceAndTheStreamGoesOn) {
  v1::EmbedRequest malformed;
  malformed.GetReflection()
      ->MutableUnknownFields(&malformed)
      ->AddLengthDelimited(v1::EmbedRequest::kInputsFieldNumber, "\x0a\x7fx");
  v1::EmbedRequest bad_option = Numbered(1);
  bad_option.mutable_options()->set_pooling(static_cast<v1::Pooling>(99));
  v1::EmbedRequest unknown = Numbered(1);
  unknown.mutable_model()->set_name("nobody");
  Client client(*embedding_);
  client.Send(Numbered(1));
  client.Send(malformed);
  client.Send(bad_option);
  client.Send(unknown);
  client.Send(EmbedTexts({std::string(kMaxMessageBytes, 'x')}));
  client.Send(Numbered(2));
  client.HalfClose();
  EXPECT_EQ(client.Next(), 1);
  EXPECT_EQ(client.Next(), -grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(client.last_error().message(), HasSubstr("malformed message"));
  EXPECT_EQ(client.Next(), -grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(client.last_error().message(), HasSubstr("options.pooling"));
  EXPECT_EQ(client.Next(), -grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(client.Next(), -grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(client.last_error().message(), HasSubstr("--max_message_bytes"));
  EXPECT_EQ(client.Next(), 2);
  EXPECT_EQ(client.Next(), 0);
  EXPECT_TRUE(client.Finish().ok());
  EXPECT_EQ(Messages(absl::StatusCode::kOk), 2);
  EXPECT_EQ(Messages(absl::StatusCode::kNotFound, ""), 1);
  EXPECT_EQ(Unanswered(), 0);
}

TEST_F(StreamTest, AFullQueueIsAnsweredInPlaceWithRetryInfo) {
  absl::Status full = absl::ResourceExhaustedError("the queue is full");
  engine::SetRetryDelay(full, std::chrono::milliseconds(1500));
  engine_.FailWith(full);
  Client client(*embedding_);
  client.Send(Numbered(1));
  EXPECT_EQ(client.Next(), -grpc::StatusCode::RESOURCE_EXHAUSTED);
  google::rpc::RetryInfo retry;
  ASSERT_EQ(client.last_error().details_size(), 1);
  ASSERT_TRUE(client.last_error().details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
  engine_.FailWith(absl::OkStatus());
  client.Send(Numbered(2));
  EXPECT_EQ(client.Next(), 2);
  client.HalfClose();
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(StreamTest, MetadataAndDeadlineOfTheStreamHoldForEachMessage) {
  Client client(*embedding_, std::chrono::seconds(100));
  client.SendNumbered(1, 2);
  EXPECT_EQ(client.Next(), 1);
  EXPECT_EQ(client.Next(), 2);
  ASSERT_TRUE(engine_.last_request().deadline.has_value());
  EXPECT_GT(*engine_.last_request().deadline, std::chrono::steady_clock::now());
  client.HalfClose();
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(StreamTest, HalfClosingLeavesTheRemainingRepliesToBeRead) {
  engine_.Hold();
  Client client(*embedding_);
  client.SendNumbered(1, 3);
  client.HalfClose();
  engine_.WaitForHeld(3);
  engine_.Release();
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(client.Next(), i);
  EXPECT_EQ(client.Next(), 0);
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(StreamTest, AFullWindowStopsReading) {
  engine_.Hold();
  Client client(*embedding_);
  for (int i = 0; i < 3 * kWindow; ++i) client.Send(Numbered(1));
  client.HalfClose();
  engine_.WaitForHeld(kWindow);
  RoundTrips();
  EXPECT_EQ(engine_.most_held(), kWindow);
  engine_.Release();
  for (int i = 0; i < 3 * kWindow; ++i) EXPECT_EQ(client.Next(), 1);
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(StreamTest, AClientThatDoesNotReadHoldsNothingThatOthersNeed) {
  constexpr int kMessages = 400;
  const auto narrow = v1::EmbeddingService::NewStub(NarrowChannel());
  Client client(*narrow);
  SendWithoutReading(client, kMessages, /*dimensions=*/1 << 15);
  EXPECT_EQ(RequestsOnceQuiet(), kWindow);
  EXPECT_EQ(admission_.requests(), 0);
  EXPECT_LT(admission_.bytes(), 1 << 15);  // less than one reply: only round trips' own
  EXPECT_TRUE(Embed(EmbedTexts({"another caller"})).ok());
  for (int i = 0; i < kMessages; ++i) EXPECT_EQ(client.Next(), 1) << i;
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(StreamTest, LargeRepliesFillTheWindowByTheirBytes) {
  constexpr int kMessages = 100;
  const auto narrow = v1::EmbeddingService::NewStub(NarrowChannel());
  Client client(*narrow);
  SendWithoutReading(client, kMessages, /*dimensions=*/1 << 18);  // 1 MiB each
  EXPECT_EQ(RequestsOnceQuiet(), kWindowMiB);
  for (int i = 0; i < kMessages; ++i) EXPECT_EQ(client.Next(), 1) << i;
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(StreamTest, RepliesCountInTheWindowFromTheirRequestOn) {
  engine_.AddModel("encoder", {}, [&](engine::ModelInfo& model) {
    model.embedding_dimensions = 1 << 18;
  });  // 1 MiB each
  engine_.Hold();
  Client client(*embedding_);
  for (int i = 0; i < kWindow; ++i) client.Send(Numbered(1));
  engine_.WaitForHeld(kWindowMiB);
  RoundTrips();
  EXPECT_EQ(engine_.most_held(), kWindowMiB);
  engine_.Release();
  for (int i = 0; i < kWindow; ++i) EXPECT_EQ(client.Next(), 1) << i;
  client.HalfClose();
  EXPECT_TRUE(client.Finish().ok());
}

TEST_F(StreamTest, CancellingDropsEverythingThatIsInFlight) {
  engine_.Hold();
  Client client(*embedding_);
  client.SendNumbered(1, 10);
  engine_.WaitForHeld(10);
  client.context.TryCancel();
  engine_.WaitForStopped(10);
  EXPECT_EQ(client.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(Messages(absl::StatusCode::kCancelled), 10);
  EXPECT_EQ(admission_.requests(), 0);
  EXPECT_EQ(admission_.bytes(), 0);
}

TEST_F(StreamTest, DrainingAnswersWhatWasReadAndSendsTheClientElsewhere) {
  engine_.Hold();
  Client client(*embedding_);
  client.SendNumbered(1, 2);
  engine_.WaitForHeld(2);
  server_->Drain();
  std::thread drain([this] { engine_.Drain(); });
  engine_.WaitForDrain();
  client.Send(Numbered(3));
  engine_.WaitForRequests(3);
  engine_.Release();
  EXPECT_EQ(client.Next(), 1);
  EXPECT_EQ(client.Next(), 2);
  EXPECT_EQ(client.Next(), -grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(client.Next(), 0);
  EXPECT_EQ(client.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
  server_->WaitForOpenCalls(engine::TimePoint::max());
  EXPECT_EQ(Messages(absl::StatusCode::kOk), 2);
  EXPECT_EQ(Messages(absl::StatusCode::kUnavailable), 1);
}

TEST_F(StreamTest, DrainingEndsIdleStreamsAndThoseThatComeLater) {
  Client idle(*embedding_);
  idle.Send(Numbered(1));
  EXPECT_EQ(idle.Next(), 1);
  server_->Drain();
  EXPECT_EQ(idle.Next(), 0);
  EXPECT_EQ(idle.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  Client late(*embedding_);
  EXPECT_EQ(late.Next(), 0);
  EXPECT_EQ(late.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(StreamTest, ThousandsOfMessagesKeepTheirOrder) {
  constexpr int kMessages = 5000;
  engine_.Hold();
  Client client(*embedding_);
  std::thread writer([&] {
    for (int i = 0; i < kMessages; ++i) client.Send(Numbered(i % 7 + 1));
    client.HalfClose();
  });
  // The newest first: replies are ready out of order all the time.
  std::thread answers([&] {
    for (int i = 0; i < kMessages; ++i) {
      engine_.WaitForHeld(1);
      engine_.ReleaseLast();
    }
  });
  for (int i = 0; i < kMessages; ++i) ASSERT_EQ(client.Next(), i % 7 + 1) << i;
  writer.join();
  answers.join();
  EXPECT_TRUE(client.Finish().ok());
  EXPECT_EQ(Messages(absl::StatusCode::kOk), kMessages);
  EXPECT_LE(engine_.most_held(), kWindow);
}

}  // namespace
}  // namespace contextpool::server
