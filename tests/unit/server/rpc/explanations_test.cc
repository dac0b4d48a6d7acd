// What ContextPool chose, as replies bring it.
#include "gmock/gmock.h"
#include "tests/unit/server/rpc/server_fixture.h"

namespace contextpool::server {
namespace {

using ::testing::ElementsAre;

using ExplanationsTest = ServerFixture;

TEST_F(ExplanationsTest, ExplainBringsTokensAndEveryLayersChoices) {
  engine_.AddModel("encoder", {}, [&](engine::ModelInfo& model) {
    model.context_pool_layers = {0, 3};
  });
  engine_.AddModel("classifier", {"no", "yes"},
                   [&](engine::ModelInfo& model) { model.context_pool_layers = {5}; });
  v1::EmbedRequest request = EmbedTexts({"a", "b"});
  request.mutable_options()->set_explain(true);
  v1::EmbedResponse reply;
  ASSERT_TRUE(Embed(request, &reply).ok());
  EXPECT_TRUE(engine_.last_request().explain);
  const v1::Explanation& explanation = reply.results(1).explanation();
  EXPECT_THAT(explanation.tokens(), ElementsAre("[CLS]", "word", "[SEP]"));
  ASSERT_EQ(explanation.layers_size(), 2);
  EXPECT_EQ(explanation.layers(0).layer(), 0);
  EXPECT_THAT(explanation.layers(0).weight(), ElementsAre(0, 1, 2));
  EXPECT_THAT(explanation.layers(0).support_size(), ElementsAre(3, 4, 5));
  EXPECT_EQ(explanation.layers(1).layer(), 3);
  EXPECT_THAT(explanation.layers(1).weight(), ElementsAre(10, 11, 12));
  EXPECT_THAT(explanation.layers(1).support_size(), ElementsAre(13, 14, 15));
  EXPECT_EQ(explanation.grid_width(), 0);

  v1::ClassifyRequest classify = ClassifyTexts({"a"});
  classify.mutable_options()->set_explain(true);
  v1::ClassifyResponse scores;
  ASSERT_TRUE(Classify(classify, &scores).ok());
  ASSERT_EQ(scores.results(0).explanation().layers_size(), 1);
  EXPECT_EQ(scores.results(0).explanation().layers(0).layer(), 5);
  EXPECT_EQ(scores.results(0).classification().scores_size(), 2);
}

TEST_F(ExplanationsTest, ExplainSaysHowAnImageIsTurnedAndWhereTheGridLies) {
  engine_.AddModel("encoder", {},
                   [&](engine::ModelInfo& model) { model.context_pool_layers = {0}; });
  engine_.EditResponses([](engine::Response& response) {
    response.explanations[1].grid_box = engine::ImageBox{-0.5f, 0.25f, 2, 0.75f};
    response.explanations[1].image_orientation = 6;
  });
  v1::EmbedRequest request = EmbedTexts({"a", "b"});
  request.mutable_options()->set_explain(true);
  v1::EmbedResponse reply;
  ASSERT_TRUE(Embed(request, &reply).ok());
  EXPECT_FALSE(reply.results(0).explanation().has_grid_box());
  const v1::ImageBox& box = reply.results(1).explanation().grid_box();
  EXPECT_EQ(box.left(), -0.5f);
  EXPECT_EQ(box.top(), 0.25f);
  EXPECT_EQ(box.width(), 2);
  EXPECT_EQ(box.height(), 0.75f);
  EXPECT_EQ(reply.results(1).explanation().image_orientation(), 6);
}

TEST_F(ExplanationsTest, NothingIsExplainedUnasked) {
  engine_.AddModel("encoder", {},
                   [&](engine::ModelInfo& model) { model.context_pool_layers = {0}; });
  v1::EmbedResponse reply;
  ASSERT_TRUE(Embed(EmbedTexts({"a"}), &reply).ok());
  EXPECT_FALSE(engine_.last_request().explain);
  EXPECT_FALSE(reply.results(0).has_explanation());
}

TEST_F(ExplanationsTest, FailedInputsHaveNoExplanation) {
  engine_.AddModel("encoder", {},
                   [&](engine::ModelInfo& model) { model.context_pool_layers = {0}; });
  engine_.EditResponses([](engine::Response& response) {
    response.results[0].status = absl::InternalError("damaged");
    if (!response.explanations.empty()) response.explanations[0] = {};
  });
  v1::EmbedRequest request = EmbedTexts({"a", "b"});
  request.mutable_options()->set_explain(true);
  v1::EmbedResponse reply;
  ASSERT_TRUE(Embed(request, &reply).ok());
  EXPECT_TRUE(reply.results(0).has_error());
  EXPECT_FALSE(reply.results(0).has_explanation());
  EXPECT_EQ(reply.results(1).explanation().tokens_size(), 3);
}

}  // namespace
}  // namespace contextpool::server
