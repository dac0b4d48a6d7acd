#include "engine/model/encoder_config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

json Classifier() {
  json config = SmallConfig();
  config["architectures"] = {"BertForSequenceClassification"};
  return config;
}

json With(json config, const char* key, json value) {
  config[key] = std::move(value);
  return config;
}

absl::StatusOr<EncoderConfig> Parse(const json& config) {
  return ParseEncoderConfig(config.dump(), 1);
}

// Why this configuration is refused.
absl::Status Refusal(const char* key, json value, json config = SmallConfig()) {
  return Parse(With(std::move(config), key, std::move(value))).status();
}

TEST(EncoderConfigTest, ReadsSizesAndFillsDefaults) {
  auto config = Parse(SmallConfig());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, "BertModel");
  EXPECT_EQ(config->hidden_size, 8);
  EXPECT_EQ(config->layers, 1);
  EXPECT_EQ(config->head_size(), 4);
  EXPECT_EQ(config->intermediate_size, 12);
  EXPECT_EQ(config->vocabulary_size, 10);
  EXPECT_EQ(config->max_positions, 16);
  EXPECT_EQ(config->token_types, 2);
  EXPECT_EQ(config->activation, kernels::Activation::kGelu);
  EXPECT_EQ(config->layer_norm_eps, 1e-12f);
  EXPECT_THAT(config->labels, IsEmpty());
  EXPECT_EQ(config->problem_type, ProblemType::kNone);
}

TEST(EncoderConfigTest, KnowsTheActivations) {
  EXPECT_EQ(Parse(With(SmallConfig(), "hidden_act", "relu"))->activation,
            kernels::Activation::kRelu);
  EXPECT_EQ(Parse(With(SmallConfig(), "hidden_act", "gelu_new"))->activation,
            kernels::Activation::kGeluTanh);
  const absl::Status status = Refusal("hidden_act", "silu");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("hidden_act"), HasSubstr("\"silu\"")));
}

TEST(EncoderConfigTest, RefusesByNameWhatItDoesNotCompute) {
  const struct {
    const char* key;
    json value;
  } cases[] = {{"quantization_config", {{"bits", 4}}},
               {"position_embedding_type", "relative_key"},
               {"classifier_pooling", "max"},
               {"is_decoder", true},
               {"add_cross_attention", true},
               {"model_type", "roberta"},
               {"architectures", {"JinaBertForMaskedLM"}}};
  for (const auto& [key, value] : cases) {
    const absl::Status status = Refusal(key, value);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << key << status;
    EXPECT_THAT(status.message(), HasSubstr(key));
  }
}

TEST(EncoderConfigTest, ChecksTheRangeOfEverySize) {
  for (const char* key :
       {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "vocab_size", "max_position_embeddings", "type_vocab_size"}) {
    for (const json& value : {json(0), json(-1), json(1e30), json(8.5), json(8.0), json("8"),
                              json(true), json(UINT64_MAX), json(INT64_MIN),
                              json(int64_t{1} << 32 | 8), json(json::array()), json(1 << 30)}) {
      const absl::Status status = Refusal(key, value);
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key << " " << value;
      EXPECT_THAT(status.message(), AllOf(HasSubstr(key), HasSubstr("an integer from 1")));
    }
    json missing = SmallConfig();
    missing.erase(key);
    if (std::string(key) == "type_vocab_size") continue;
    EXPECT_THAT(Parse(missing).status().message(), AllOf(HasSubstr(key), HasSubstr("missing")));
  }
  EXPECT_THAT(Refusal("num_attention_heads", 3).message(), HasSubstr("not a multiple"));
}

TEST(EncoderConfigTest, ChecksTheEpsilon) {
  EXPECT_EQ(Parse(With(SmallConfig(), "layer_norm_eps", 1e-5))->layer_norm_eps, 1e-5f);
  for (const json& value : {json(-1e-12), json(1), json("1e-5"), json(1e300)}) {
    EXPECT_THAT(Refusal("layer_norm_eps", value).message(), HasSubstr("layer_norm_eps"));
  }
}

TEST(EncoderConfigTest, OrdersLabelsByTheirNumber) {
  json map;
  for (int i = 0; i < 12; ++i) map[std::to_string(i)] = "L" + std::to_string(i);
  auto config = Parse(With(Classifier(), "id2label", map));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->labels, ElementsAre("L0", "L1", "L2", "L3", "L4", "L5", "L6", "L7", "L8",
                                          "L9", "L10", "L11"));
}

TEST(EncoderConfigTest, RefusesLabelMapsWithHoles) {
  for (const json& map :
       {json{{"1", "a"}}, json{{"0", "a"}, {"2", "b"}}, json{{"0", "a"}, {"00", "b"}},
        json{{"0", "a"}, {"-1", "b"}}, json{{"x", "a"}}, json{{"0", 5}}, json::object(),
        json(json::array({"a"})), json{{"99999999999999999999", "a"}}}) {
    EXPECT_THAT(Refusal("id2label", map, Classifier()).message(), HasSubstr("id2label")) << map;
  }
}

TEST(EncoderConfigTest, NamesLabelsAsTransformersDoes) {
  EXPECT_THAT(Parse(Classifier())->labels, ElementsAre("LABEL_0", "LABEL_1"));
  EXPECT_THAT(Parse(With(Classifier(), "num_labels", 3))->labels,
              ElementsAre("LABEL_0", "LABEL_1", "LABEL_2"));
  EXPECT_THAT(Refusal("num_labels", 3, With(Classifier(), "id2label", {{"0", "a"}})).message(),
              AllOf(HasSubstr("num_labels"), HasSubstr("id2label")));
  EXPECT_FALSE(Refusal("num_labels", 1 << 30, Classifier()).ok());
}

TEST(EncoderConfigTest, DecidesTheProblemTypeAsTransformersDoes) {
  EXPECT_EQ(Parse(Classifier())->problem_type, ProblemType::kSingleLabel);
  EXPECT_EQ(Parse(With(Classifier(), "num_labels", 1))->problem_type, ProblemType::kRegression);
  EXPECT_EQ(Parse(With(Classifier(), "problem_type", "regression"))->problem_type,
            ProblemType::kRegression);
  EXPECT_EQ(Parse(With(Classifier(), "problem_type", "multi_label_classification"))->problem_type,
            ProblemType::kMultiLabel);
  EXPECT_EQ(Parse(With(Classifier(), "problem_type", nullptr))->problem_type,
            ProblemType::kSingleLabel);
  EXPECT_FALSE(
      Refusal("problem_type", "single_label_classification", With(Classifier(), "num_labels", 1))
          .ok());
  EXPECT_THAT(Refusal("problem_type", "ranking", Classifier()).message(), HasSubstr("\"ranking\""));
}

TEST(EncoderConfigTest, IgnoresLabelsOfModelsWithoutAHead) {
  auto config = Parse(With(SmallConfig(), "id2label", {{"0", "a"}}));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->classifies());
}

TEST(EncoderConfigTest, RefusesWhatIsNoJsonObject) {
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{\"a\":"),
        std::string("{\"a\":1e999}"), std::string("\xff\xfe"), std::string(100000, '['),
        std::string(100000, '[') + std::string(100000, ']'),
        std::string("{\"model_type\":\"bert\",\"model_type\":\"bert\"}")}) {
    EXPECT_EQ(ParseEncoderConfig(text, 1).status().code(), absl::StatusCode::kInvalidArgument)
        << text.substr(0, 40);
  }
}

}  // namespace
}  // namespace contextpool::engine
