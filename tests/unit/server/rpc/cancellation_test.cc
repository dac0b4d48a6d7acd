// Callers that give up, vanish or let their deadline pass.
#include <random>
#include <thread>

#include "server/rpc/inference_call.h"
#include "server/rpc/message.h"
#include "tests/support/fake_clock.h"
#include "tests/unit/server/rpc/server_fixture.h"

namespace contextpool::server {
namespace {

// gRPC may round it up by 0.1 s.
constexpr std::chrono::milliseconds kTimeout{60'000};
constexpr std::chrono::milliseconds kPastTimeout{61'000};
constexpr std::chrono::milliseconds kJustBeforeTimeout{59'700};

struct CancellationClock {
  testing::FakeClock clock_;
};

class CancellationTest : private CancellationClock, public ServerFixture {
 protected:
  CancellationTest() : ServerFixture(/*max_in_flight=*/64, clock_) {}

  // Cancels a call that the engine holds, so long after its arrival.
  void CancelAfter(engine::Duration age) {
    engine_.Hold();
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kTimeout);
    std::thread caller([&] {
      v1::EmbedResponse reply;
      EXPECT_EQ(embedding_->Embed(&context, EmbedTexts({"a"}), &reply).error_code(),
                grpc::StatusCode::CANCELLED);
    });
    engine_.WaitForHeld(1);
    clock_.Advance(age);
    context.TryCancel();
    caller.join();
  }

  double Embeds(absl::StatusCode code) { return Calls(Endpoint::kEmbed, code, "encoder"); }

  using CancellationClock::clock_;
};

TEST_F(CancellationTest, WorkOfACallerThatGivesUpLeavesTheEngineAtOnce) {
  CancelAfter(kTimeout / 2);
  engine_.WaitForStopped(1);
  EXPECT_EQ(Embeds(absl::StatusCode::kCancelled), 1);
  EXPECT_EQ(admission_.requests(), 0);
  EXPECT_EQ(admission_.bytes(), 0);
  EXPECT_EQ(Unanswered(), 0);
}

TEST_F(CancellationTest, AClientThatCancelsAsItsDeadlinePassesCountsAsLate) {
  CancelAfter(kJustBeforeTimeout);
  engine_.WaitForStopped(1);
  EXPECT_EQ(Embeds(absl::StatusCode::kDeadlineExceeded), 1);
  EXPECT_EQ(Embeds(absl::StatusCode::kCancelled), 0);
}

TEST_F(CancellationTest, WorkWhoseDeadlineHasPassedIsLeftToTheEngineToDrop) {
  CancelAfter(kPastTimeout);
  server_->Drain();
  // The call is waited for, so the server knows of the cancellation before it ends.
  engine_.Release();
  server_->WaitForOpenCalls(engine::TimePoint::max());
  EXPECT_EQ(Embeds(absl::StatusCode::kDeadlineExceeded), 1);
  EXPECT_EQ(Unanswered(), 0);
}

TEST_F(CancellationTest, AResultThatComesTooLateCountsAsLate) {
  engine_.EditResponses([this](engine::Response&) { clock_.Advance(kPastTimeout); });
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  v1::EmbedResponse reply;
  EXPECT_EQ(embedding_->Embed(&context, EmbedTexts({"a"}), &reply).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(Embeds(absl::StatusCode::kDeadlineExceeded), 1);
}

TEST_F(CancellationTest, CancellingAfterTheAnswerChangesNothing) {
  grpc::ClientContext context;
  v1::EmbedResponse reply;
  EXPECT_TRUE(embedding_->Embed(&context, EmbedTexts({"a"}), &reply).ok());
  context.TryCancel();
  EXPECT_EQ(Embeds(absl::StatusCode::kOk), 1);
  EXPECT_EQ(Unanswered(), 0);
}

TEST_F(CancellationTest, CallersThatGiveUpAtAnyMomentAreAnsweredOnce) {
  constexpr int kCalls = 300;
  std::mt19937 random{7};
  for (int i = 0; i < kCalls; ++i) {
    engine_.Hold();
    grpc::ClientContext context;
    std::thread caller([&] {
      v1::EmbedResponse reply;
      embedding_->Embed(&context, EmbedTexts({"a"}), &reply);
    });
    if (random() % 2 == 0) engine_.WaitForRequests(i + 1);
    std::thread answer([&] { engine_.Release(); });
    context.TryCancel();
    caller.join();
    answer.join();
    engine_.Release();
    // A call that was cancelled before it left its client never comes.
    if (engine_.requests() <= i) {
      EXPECT_TRUE(Embed(EmbedTexts({"a"})).ok());
    }
  }
  server_->Drain();
  server_->WaitForOpenCalls(engine::TimePoint::max());
  EXPECT_EQ(Unanswered(), 0);
  EXPECT_EQ(admission_.requests(), 0);
  EXPECT_EQ(admission_.bytes(), 0);
}

// What a handler answers, without gRPC.
class Answered final : public Responder {
 public:
  void Expect(int64_t) override {}
  void Respond(const absl::Status& status, grpc::ByteBuffer, Admission::Ticket) override {
    engine::MutexLock lock(mutex_);
    status_ = status;
    thread_ = std::this_thread::get_id();
    changed_.NotifyAll();
  }
  // Waits for the answer.
  absl::Status status() {
    engine::MutexLock lock(mutex_);
    while (!status_) changed_.Wait(mutex_);
    return *status_;
  }
  std::thread::id thread() {
    engine::MutexLock lock(mutex_);
    return thread_;
  }

 private:
  engine::Mutex mutex_;
  engine::CondVar changed_;
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mutex_);
  std::thread::id thread_ ABSL_GUARDED_BY(mutex_);
};

class HandlerTest : public ServerFixture {
 protected:
  void Start() {
    grpc::ByteBuffer bytes;
    ASSERT_TRUE(SerializeMessage(EmbedTexts({"a"}), bytes).ok());
    InferenceCall<v1::EmbedRequest, v1::EmbedResponse>::Start(backend_, Endpoint::kEmbed, caller_,
                                                              bytes, answered_);
  }

  grpc::CallbackServerContext context_;
  Caller caller_{context_, 4096, engine::Clock::Real()};
  Answered answered_;
};

TEST_F(HandlerTest, ACallerThatGaveUpBeforeTheEngineIsAskedIsCancelled) {
  engine_.Hold();
  caller_.GiveUp();
  Start();
  EXPECT_EQ(answered_.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Calls(Endpoint::kEmbed, absl::StatusCode::kCancelled, "encoder"), 1);
  EXPECT_EQ(admission_.requests(), 0);
}

TEST_F(HandlerTest, ResultsAreNotEncodedByTheThreadThatBringsThem) {
  Start();
  EXPECT_TRUE(answered_.status().ok());
  EXPECT_NE(answered_.thread(), std::this_thread::get_id());
}

TEST_F(HandlerTest, RefusalsAreAnsweredAtOnce) {
  engine_.FailWith(absl::ResourceExhaustedError("the queue is full"));
  Start();
  EXPECT_EQ(answered_.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(answered_.thread(), std::this_thread::get_id());
}

}  // namespace
}  // namespace contextpool::server
