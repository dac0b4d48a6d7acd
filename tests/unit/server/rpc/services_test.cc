// The services over loopback, with a fake engine behind them.
#include "server/rpc/services.h"

#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/retry.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "server/rpc/message.h"
#include "server/rpc/reply_size.h"
#include "tests/unit/server/rpc/server_fixture.h"

namespace contextpool::server {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::Not;

using ServicesTest = ServerFixture;

// A call of Embed whose client does not read the reply.
class UnreadCall {
 public:
  UnreadCall(const std::shared_ptr<grpc::Channel>& channel, const v1::EmbedRequest& request)
      : stub_(channel),
        call_(stub_.PrepareCall(&context_, "/contextpool.v1.EmbeddingService/Embed", &done_)) {
    grpc::ByteBuffer bytes;
    EXPECT_TRUE(SerializeMessage(request, bytes).ok());
    call_->StartCall(nullptr);
    Wait();
    call_->WriteLast(bytes, grpc::WriteOptions(), nullptr);
    Wait();
  }

  void Cancel() {
    context_.TryCancel();
    grpc::Status status;
    call_->Finish(&status, nullptr);
    Wait();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  }

 private:
  void Wait() {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(done_.Next(&tag, &ok));
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue done_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

TEST_F(ServicesTest, EmbedReturnsVectorsUsageModelAndTiming) {
  v1::EmbedResponse reply;
  ASSERT_TRUE(Embed(EmbedTexts({"a", "b"}), &reply).ok());
  EXPECT_EQ(reply.model().name(), "encoder");
  EXPECT_EQ(reply.model().version(), 1);
  ASSERT_EQ(reply.results_size(), 2);
  EXPECT_THAT(reply.results(1).embedding().values(), ElementsAre(1, 1, 2, 3));
  EXPECT_EQ(reply.results(1).embedding().dimensions(), 4);
  EXPECT_EQ(reply.results(1).embedding().vectors(), 1);
  EXPECT_EQ(reply.results(0).usage().tokens_used(), 3);
  EXPECT_GT(reply.timing().total_ns(), 0);
  EXPECT_EQ(Calls(Endpoint::kEmbed, absl::StatusCode::kOk, "encoder"), 1);
}

TEST_F(ServicesTest, OptionsReachTheEngine) {
  v1::EmbedRequest request = EmbedTexts({"a"});
  request.mutable_options()->set_normalize(false);
  request.mutable_options()->set_pooling(v1::POOLING_LAST_TOKEN);
  request.mutable_options()->set_truncation(v1::TRUNCATION_LEFT);
  request.set_priority(v1::PRIORITY_BULK);
  ASSERT_TRUE(Embed(request).ok());
  const engine::Request seen = engine_.last_request();
  EXPECT_EQ(seen.normalize, std::optional<bool>(false));
  EXPECT_EQ(seen.pooling, std::optional(engine::Pooling::kLastToken));
  EXPECT_EQ(seen.truncation, engine::Truncation::kLeft);
  EXPECT_EQ(seen.priority, engine::Priority::kBulk);
  EXPECT_EQ(seen.deadline, std::nullopt);
}

// Every value of the API has its own of the engine, and back.
TEST_F(ServicesTest, EveryPoolingReachesTheEngineAndIsListed) {
  std::vector<int> listed;
  std::vector<engine::Pooling> seen;
  for (int value = v1::POOLING_UNSPECIFIED + 1; v1::Pooling_IsValid(value); ++value) {
    v1::EmbedRequest request = EmbedTexts({"a"});
    request.mutable_options()->set_pooling(static_cast<v1::Pooling>(value));
    ASSERT_TRUE(Embed(request).ok());
    seen.push_back(engine_.last_request().pooling.value());
    EXPECT_EQ(v1::Pooling_Name(value), absl::StrCat("POOLING_", engine::Name(seen.back())));
    listed.push_back(value);
  }
  engine_.AddModel("all", {}, [&](engine::ModelInfo& model) { model.poolings = seen; });
  grpc::ClientContext context;
  v1::GetModelRequest get;
  get.mutable_model()->set_name("all");
  v1::GetModelResponse reply;
  ASSERT_TRUE(models_->GetModel(&context, get, &reply).ok());
  EXPECT_THAT(reply.model().poolings(), ElementsAreArray(listed));
}

TEST_F(ServicesTest, UnsetOptionsStayUnset) {
  ASSERT_TRUE(Embed(EmbedTexts({"a"})).ok());
  const engine::Request seen = engine_.last_request();
  EXPECT_EQ(seen.normalize, std::nullopt);
  EXPECT_EQ(seen.pooling, std::nullopt);
  EXPECT_EQ(seen.priority, engine::Priority::kInteractive);
}

TEST_F(ServicesTest, MetadataSetsThePriorityUnlessTheMessageDoes) {
  v1::EmbedRequest request = EmbedTexts({"a"});
  for (const bool also_in_message : {false, true}) {
    if (also_in_message) request.set_priority(v1::PRIORITY_INTERACTIVE);
    grpc::ClientContext context;
    context.AddMetadata("contextpool-priority", "bulk");
    v1::EmbedResponse reply;
    ASSERT_TRUE(embedding_->Embed(&context, request, &reply).ok());
    EXPECT_EQ(engine_.last_request().priority,
              also_in_message ? engine::Priority::kInteractive : engine::Priority::kBulk);
  }
}

TEST_F(ServicesTest, GrpcDeadlineReachesTheEngine) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(100));
  v1::EmbedResponse reply;
  ASSERT_TRUE(embedding_->Embed(&context, EmbedTexts({"a"}), &reply).ok());
  const auto deadline = engine_.last_request().deadline;
  ASSERT_TRUE(deadline.has_value());
  const double left = engine::Seconds(*deadline - std::chrono::steady_clock::now());
  EXPECT_GT(left, 50);
  EXPECT_LE(left, 101);
}

TEST_F(ServicesTest, EncodingsAreApplied) {
  v1::EmbedRequest request = EmbedTexts({"a"});
  request.mutable_options()->set_encoding(v1::EMBEDDING_ENCODING_BINARY);
  v1::EmbedResponse reply;
  ASSERT_TRUE(Embed(request, &reply).ok());
  // [0, 1, 2, 3]
  EXPECT_EQ(reply.results(0).embedding().data(), "\x70");
  EXPECT_EQ(reply.results(0).embedding().encoding(), v1::EMBEDDING_ENCODING_BINARY);
  EXPECT_EQ(reply.results(0).embedding().values_size(), 0);
}

TEST_F(ServicesTest, ClassifySortsCutsAndShowsLogits) {
  v1::ClassifyRequest request = ClassifyTexts({"a"});
  request.mutable_options()->set_top_k(2);
  request.mutable_options()->set_logits(true);
  v1::ClassifyResponse reply;
  ASSERT_TRUE(Classify(request, &reply).ok());
  const auto& scores = reply.results(0).classification().scores();
  ASSERT_EQ(scores.size(), 2);
  EXPECT_EQ(scores[0].label(), "positive");
  EXPECT_EQ(scores[0].index(), 2);
  EXPECT_NEAR(scores[0].score(), 0.66524, 1e-5);
  EXPECT_EQ(scores[0].logit(), 2);
  EXPECT_EQ(scores[1].label(), "neutral");
}

TEST_F(ServicesTest, ModelsAreListedWithStateAndReason) {
  engine_.SetState("encoder", engine::ModelState::kFailed, "tensor x is missing");
  grpc::ClientContext context;
  v1::ListModelsResponse reply;
  ASSERT_TRUE(models_->ListModels(&context, {}, &reply).ok());
  ASSERT_EQ(reply.models_size(), 2);
  EXPECT_EQ(reply.models(0).ref().name(), "classifier");
  EXPECT_EQ(reply.models(0).state(), v1::MODEL_STATE_READY);
  EXPECT_THAT(reply.models(0).tasks(), ElementsAre(v1::TASK_EMBED, v1::TASK_CLASSIFY));
  EXPECT_THAT(reply.models(0).labels(), ElementsAre("negative", "neutral", "positive"));
  EXPECT_EQ(reply.models(1).state(), v1::MODEL_STATE_FAILED);
  EXPECT_EQ(reply.models(1).reason(), "tensor x is missing");
}

TEST_F(ServicesTest, GetModelAndTokenize) {
  grpc::ClientContext first;
  v1::GetModelRequest get;
  get.mutable_model()->set_name("encoder");
  v1::GetModelResponse model;
  ASSERT_TRUE(models_->GetModel(&first, get, &model).ok());
  EXPECT_EQ(model.model().embedding_dimensions(), 4);

  grpc::ClientContext second;
  v1::TokenizeRequest request;
  request.mutable_model()->set_name("encoder");
  request.add_texts("hello");
  request.add_texts("bad");
  v1::TokenizeResponse reply;
  ASSERT_TRUE(models_->Tokenize(&second, request, &reply).ok());
  EXPECT_THAT(reply.results(0).tokens().ids(), ElementsAre(101, 5, 102));
  EXPECT_THAT(reply.results(0).tokens().tokens(), ElementsAre("[CLS]", "hello", "[SEP]"));
  EXPECT_EQ(reply.results(1).error().message(), "texts[1]: too long");
}

TEST_F(ServicesTest, TokensThatWouldFillMoreThanAMessageAreRefused) {
  v1::TokenizeRequest request;
  request.mutable_model()->set_name("encoder");
  for (int i = 0; i < 4096; ++i) request.add_texts(std::string(600, 'x'));
  ASSERT_LT(request.ByteSizeLong(), kMaxMessageBytes);
  grpc::ClientContext context;
  v1::TokenizeResponse reply;
  const grpc::Status status = models_->Tokenize(&context, request, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("texts: too many tokens"));
}

TEST_F(ServicesTest, ADrainingServerTokenizesNothing) {
  server_->Drain();
  grpc::ClientContext context;
  v1::TokenizeRequest request;
  request.add_texts("x");
  v1::TokenizeResponse reply;
  EXPECT_EQ(models_->Tokenize(&context, request, &reply).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServicesTest, RetryDelayTravelsAsRetryInfo) {
  absl::Status full = absl::ResourceExhaustedError("the queue is full");
  engine::SetRetryDelay(full, std::chrono::milliseconds(1500));
  engine_.FailWith(full);
  const grpc::Status status = Embed(EmbedTexts({"a"}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  google::rpc::RetryInfo retry;
  ASSERT_EQ(details.details_size(), 1);
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
}

TEST_F(ServicesTest, InternalErrorsShowAnIdAndNothingElse) {
  engine_.FailWith(absl::InternalError("/models/secret/path: assertion failed"));
  const grpc::Status status = Embed(EmbedTexts({"a"}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(status.error_message(), Not(HasSubstr("secret")));
  EXPECT_THAT(status.error_message(), testing::ContainsRegex("internal error [0-9a-f]{16}"));
}

TEST_F(ServicesTest, TooManyRequestsAtOnceAreToldToRetry) {
  engine_.Hold();
  std::vector<std::thread> callers;
  for (int i = 0; i < kMaxInFlight; ++i) {
    callers.emplace_back([this] { EXPECT_TRUE(Embed(EmbedTexts({"a"})).ok()); });
  }
  engine_.WaitForHeld(kMaxInFlight);
  const grpc::Status status = Embed(EmbedTexts({"a"}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("--max_in_flight_requests"));
  EXPECT_FALSE(status.error_details().empty());
  engine_.Release();
  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(Embed(EmbedTexts({"a"})).ok());
}

TEST_F(ServicesTest, RepliesThatAreNotReadCountUntilTheirCallerGivesUp) {
  constexpr int64_t kReply = 3 << 20;
  engine_.AddModel("encoder", {},
                   [&](engine::ModelInfo& model) { model.embedding_dimensions = kReply / 4; });
  const v1::EmbedRequest small = EmbedTexts({"a"});
  UnreadCall unread(NarrowChannel(), EmbedTexts(std::vector<std::string>(21, "a")));
  for (int i = 0; i < 1000 && Calls(Endpoint::kEmbed, absl::StatusCode::kOk, "encoder") < 1; ++i) {
    RoundTrips();
  }
  EXPECT_EQ(admission_.requests(), 0);
  EXPECT_GE(admission_.bytes(), 21 * kReply);
  const grpc::Status status = Embed(small);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("--max_in_flight_bytes"));
  EXPECT_FALSE(status.error_details().empty());
  EXPECT_EQ(engine_.requests(), 1);
  unread.Cancel();
  for (int i = 0; i < 1000 && admission_.bytes() >= kReply; ++i) RoundTrips();
  EXPECT_LT(admission_.bytes(), kReply);
  EXPECT_TRUE(Embed(small).ok());
}

TEST_F(ServicesTest, ARequestWhoseReplyNeverFitsIsRefusedForGood) {
  engine_.AddModel("encoder", {},
                   [&](engine::ModelInfo& model) { model.embedding_dimensions = 1 << 18; });
  const grpc::Status status = Embed(EmbedTexts(std::vector<std::string>(64, "a")));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("--max_in_flight_bytes"));
  EXPECT_EQ(engine_.requests(), 0);
}

TEST_F(ServicesTest, RepliesAreNoLargerThanExpectedAndHardlySmaller) {
  const engine::ModelInfo& encoder = engine_.AddModel("encoder", {}, [](engine::ModelInfo& model) {
    model.embedding_dimensions = 1000;
    model.context_pool_layers = {0, 1};
  });
  engine::Request request;
  request.inputs = {engine::TextInput{"a b"}, engine::TextInput{"a b"}};
  v1::EmbedRequest embed = EmbedTexts({"a b", "a b"});
  v1::EmbedResponse vectors;
  ASSERT_TRUE(Embed(embed, &vectors).ok());
  const auto values = static_cast<int64_t>(vectors.ByteSizeLong());
  EXPECT_GE(ReplyBytes(embed, request, encoder), values);
  EXPECT_LT(ReplyBytes(embed, request, encoder), values + values / 10);

  request.explain = true;
  embed.mutable_options()->set_explain(true);
  ASSERT_TRUE(Embed(embed, &vectors).ok());
  EXPECT_GT(static_cast<int64_t>(vectors.ByteSizeLong()), values);
  EXPECT_GE(ReplyBytes(embed, request, encoder), static_cast<int64_t>(vectors.ByteSizeLong()));

  const engine::ModelInfo& classifier =
      engine_.AddModel("classifier", std::vector<std::string>(100, std::string(90, 'x')));
  request.explain = false;
  v1::ClassifyRequest classify = ClassifyTexts({"a b", "a b"});
  v1::ClassifyResponse scores;
  ASSERT_TRUE(Classify(classify, &scores).ok());
  const auto all = static_cast<int64_t>(scores.ByteSizeLong());
  EXPECT_GE(ReplyBytes(classify, request, classifier), all);
  EXPECT_LT(ReplyBytes(classify, request, classifier), all + all / 5);
  classify.mutable_options()->set_top_k(1);
  EXPECT_LT(ReplyBytes(classify, request, classifier), all / 10);
}

TEST_F(ServicesTest, AdminSaysWhatToDoInstead) {
  grpc::ClientContext context;
  v1::LoadModelResponse loaded;
  const grpc::Status admin = v1::AdminService::NewStub(channel_)->LoadModel(&context, {}, &loaded);
  EXPECT_EQ(admin.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(admin.error_message(), HasSubstr("--enable_admin"));
}

TEST_F(ServicesTest, CallsWithoutAModelsNameAreCountedUnderTheModelThatWouldAnswer) {
  engine_.FailWith(absl::ResourceExhaustedError("the queue is full"));
  v1::ClassifyRequest unnamed = ClassifyTexts({"a"});
  EXPECT_FALSE(Classify(unnamed).ok());
  EXPECT_EQ(Calls(Endpoint::kClassify, absl::StatusCode::kResourceExhausted, "classifier"), 1);
  EXPECT_EQ(metrics_.by_name().at("classifier")->received[static_cast<size_t>(Endpoint::kClassify)],
            1);
  EXPECT_FALSE(SendRaw("/contextpool.v1.ModelService/GetModel", "\x0a\x7fx").ok());
  EXPECT_EQ(Unanswered(), 0);
}

}  // namespace
}  // namespace contextpool::server
