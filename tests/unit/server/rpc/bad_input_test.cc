// Every kind of bad input with its exact code and a message that names index and field.
#include <limits>

#include "gmock/gmock.h"
#include "tests/unit/server/rpc/server_fixture.h"

namespace contextpool::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using BadInputTest = ServerFixture;

#define EXPECT_REFUSED(call, matcher)                                    \
  do {                                                                   \
    const grpc::Status refused = (call);                                 \
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT); \
    EXPECT_THAT(refused.error_message(), matcher);                       \
  } while (false)

TEST_F(BadInputTest, EmptyTextWhitespaceAndAMegabyteAreEmbedded) {
  v1::EmbedResponse reply;
  const grpc::Status status = Embed(EmbedTexts({"", " \t\n", std::string(1 << 20, 'a')}), &reply);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(reply.results_size(), 3);
  for (const v1::EmbedResult& result : reply.results()) EXPECT_TRUE(result.has_embedding());
}

TEST_F(BadInputTest, InvalidUtf8IsNamedByIndexAndField) {
  // EmbedRequest{inputs: [{text: "ok"}, {text: "\xff"}]}
  EXPECT_REFUSED(SendRaw("/contextpool.v1.EmbeddingService/Embed",
                         std::string("\x12\x04\x0a\x02ok\x12\x03\x0a\x01\xff", 11)),
                 "inputs[1].text: the text is not valid UTF-8");
  // ModelRef{name: "\xc0\x80"} inside.
  EXPECT_REFUSED(SendRaw("/contextpool.v1.ClassificationService/Classify",
                         std::string("\x0a\x04\x0a\x02\xc0\x80", 6)),
                 "model.name: the text is not valid UTF-8");
  EXPECT_REFUSED(SendRaw("/contextpool.v1.ModelService/Tokenize",
                         std::string("\x12\x01x\x12\x03\xed\xa0\x80", 8)),
                 "texts[1]: the text is not valid UTF-8");
}

TEST_F(BadInputTest, MalformedMessagesAreInvalidArgumentNotUnimplemented) {
  for (const char* method :
       {"/contextpool.v1.EmbeddingService/Embed", "/contextpool.v1.ClassificationService/Classify",
        "/contextpool.v1.ModelService/Tokenize", "/contextpool.v1.ModelService/GetModel",
        "/contextpool.v1.ModelService/ListModels"}) {
    // A field of 127 bytes of which one is there.
    EXPECT_REFUSED(SendRaw(method, "\x0a\x7fx"), StartsWith("malformed message"));
  }
  EXPECT_EQ(Calls(Endpoint::kEmbed, absl::StatusCode::kInvalidArgument, ""), 1);
}

TEST_F(BadInputTest, NoInputs) {
  EXPECT_REFUSED(Embed({}), "inputs: empty; give at least one");
  EXPECT_REFUSED(Classify({}), "inputs: empty; give at least one");
}

TEST_F(BadInputTest, TenThousandInputs) {
  EXPECT_REFUSED(Embed(EmbedTexts(std::vector<std::string>(10000, "x"))),
                 "inputs: 10000 given, --max_inputs allows 4096; split the request");
}

TEST_F(BadInputTest, MessageOverOurLimitNamesTheFlag) {
  EXPECT_REFUSED(Embed(EmbedTexts({std::string(kMaxMessageBytes, 'x')})),
                 HasSubstr("--max_message_bytes allows 3145728"));
}

TEST_F(BadInputTest, MessageFarOverOurLimitIsStoppedByGrpc) {
  EXPECT_EQ(Embed(EmbedTexts({std::string(2 * kMaxMessageBytes, 'x')})).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(BadInputTest, UnknownModelAndVersion) {
  v1::EmbedRequest request = EmbedTexts({"x"});
  request.mutable_model()->set_name("no-such-model");
  grpc::Status status = Embed(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("no-such-model"));
  request.mutable_model()->set_name("encoder");
  request.mutable_model()->set_version(9);
  EXPECT_EQ(Embed(request).error_code(), grpc::StatusCode::NOT_FOUND);
  request.mutable_model()->set_version(-1);
  EXPECT_REFUSED(Embed(request), StartsWith("model.version: -1"));
  // What the caller wrote becomes no label.
  EXPECT_EQ(metrics_.by_name().count("no-such-model"), 0);
  EXPECT_EQ(Calls(Endpoint::kEmbed, absl::StatusCode::kNotFound, ""), 2);
}

TEST_F(BadInputTest, UnknownEnumValues) {
  v1::EmbedRequest request = EmbedTexts({"x"});
  request.set_priority(static_cast<v1::Priority>(99));
  EXPECT_REFUSED(Embed(request), AllOf(StartsWith("priority: unknown value 99; allowed are"),
                                       HasSubstr("PRIORITY_BULK")));
  request = EmbedTexts({"x"});
  request.mutable_options()->set_pooling(static_cast<v1::Pooling>(77));
  EXPECT_REFUSED(Embed(request), StartsWith("options.pooling: unknown value 77"));
  request = EmbedTexts({"x"});
  request.mutable_options()->set_encoding(static_cast<v1::EmbeddingEncoding>(-3));
  EXPECT_REFUSED(Embed(request), StartsWith("options.encoding: unknown value -3"));
  request = EmbedTexts({"x"});
  request.mutable_options()->set_truncation(static_cast<v1::Truncation>(4));
  EXPECT_REFUSED(Embed(request), StartsWith("options.truncation: unknown value 4"));
  v1::ClassifyRequest classify = ClassifyTexts({"x"});
  classify.mutable_options()->set_truncation(static_cast<v1::Truncation>(5));
  EXPECT_REFUSED(Classify(classify), StartsWith("options.truncation: unknown value 5"));
}

TEST_F(BadInputTest, UnknownPriorityMetadata) {
  grpc::ClientContext context;
  context.AddMetadata("contextpool-priority", "urgent");
  v1::EmbedResponse reply;
  EXPECT_REFUSED(embedding_->Embed(&context, EmbedTexts({"x"}), &reply),
                 StartsWith("metadata contextpool-priority: \"urgent\" is unknown"));
}

TEST_F(BadInputTest, WrongModality) {
  v1::EmbedRequest request = EmbedTexts({"x"});
  request.add_inputs()->set_image("\xff\xd8\xff");
  EXPECT_REFUSED(Embed(request), AllOf(StartsWith("inputs[1].image: modality not offered")));
  request.mutable_model()->set_name("encoder");
  EXPECT_REFUSED(Embed(request),
                 "inputs[1].image: modality not offered: model encoder reads text, not images");
  request.mutable_model()->set_name("missing");
  EXPECT_EQ(Embed(request).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(BadInputTest, TaskNotOffered) {
  v1::ClassifyRequest request = ClassifyTexts({"x"});
  request.mutable_model()->set_name("encoder");
  EXPECT_REFUSED(Classify(request), HasSubstr("does not classify"));
}

TEST_F(BadInputTest, OptionsOfLaterVersionsAreRefusedByName) {
  v1::EmbedRequest request = EmbedTexts({"x"});
  request.mutable_options()->set_dimensions(64);
  EXPECT_REFUSED(Embed(request), StartsWith("options.dimensions: 64"));
  request = EmbedTexts({"x"});
  request.mutable_options()->set_token_level(true);
  EXPECT_REFUSED(Embed(request), StartsWith("options.token_level: "));
  request = EmbedTexts({"x"});
  request.mutable_options()->set_prompt_name("query");
  EXPECT_REFUSED(Embed(request), StartsWith("options.prompt_name: "));
}

TEST_F(BadInputTest, ClassifyOptionsOutOfRange) {
  v1::ClassifyRequest request = ClassifyTexts({"x"});
  request.mutable_options()->set_top_k(0);
  EXPECT_REFUSED(Classify(request), "options.top_k: 0 is out of range; allowed is 1 or more");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(), -0.1F, 1.5F}) {
    request = ClassifyTexts({"x"});
    request.mutable_options()->set_threshold(bad);
    EXPECT_REFUSED(Classify(request), StartsWith("options.threshold: "));
  }
  request = ClassifyTexts({"x"});
  request.mutable_options()->add_labels("positive");
  request.mutable_options()->add_labels("postive");
  EXPECT_REFUSED(Classify(request),
                 "options.labels[1]: model classifier has no label \"postive\"; it has negative,"
                 " neutral, positive");
}

TEST_F(BadInputTest, UnsetInputAndEmptyTokenIdsFailAloneInsideAnOkReply) {
  v1::EmbedRequest request = EmbedTexts({"fine"});
  request.add_inputs();
  request.add_inputs()->mutable_token_ids();
  v1::EmbedResponse reply;
  ASSERT_TRUE(Embed(request, &reply).ok());
  ASSERT_EQ(reply.results_size(), 3);
  EXPECT_TRUE(reply.results(0).has_embedding());
  EXPECT_EQ(reply.results(1).error().code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(reply.results(1).error().message(),
            "inputs[1]: nothing is set; set text, image or token_ids");
  EXPECT_EQ(reply.results(2).error().code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(reply.results(2).error().message(),
            "inputs[2].token_ids: empty; give at least one token id");
}

TEST_F(BadInputTest, AnInputThatTheEngineRefusesFailsAloneWithItsPath) {
  engine_.EditResponses([](engine::Response& response) {
    response.results[1].status = absl::InvalidArgumentError("9 tokens, the model reads 8");
  });
  v1::ClassifyResponse reply;
  ASSERT_TRUE(Classify(ClassifyTexts({"a", "b"}), &reply).ok());
  EXPECT_TRUE(reply.results(0).has_classification());
  EXPECT_EQ(reply.results(1).error().message(), "inputs[1].text: 9 tokens, the model reads 8");
}

TEST_F(BadInputTest, NonFiniteOutputIsInternalForThatInputAlone) {
  engine_.EditResponses([](engine::Response& response) {
    response.values[response.width] = std::numeric_limits<float>::quiet_NaN();
  });
  v1::EmbedResponse reply;
  ASSERT_TRUE(Embed(EmbedTexts({"a", "b", "c"}), &reply).ok());
  EXPECT_TRUE(reply.results(0).has_embedding());
  EXPECT_EQ(reply.results(1).error().code(), grpc::StatusCode::INTERNAL);
  EXPECT_FALSE(reply.results(1).has_embedding());
  EXPECT_TRUE(reply.results(2).has_embedding());
}

}  // namespace
}  // namespace contextpool::server
