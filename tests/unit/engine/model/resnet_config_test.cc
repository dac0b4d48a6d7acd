#include "engine/model/resnet_config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

json Config() {
  return {{"model_type", "resnet"},
          {"architectures", {"ResNetModel"}},
          {"embedding_size", 12},
          {"hidden_sizes", {16, 24, 40}},
          {"depths", {2, 1, 3}},
          {"layer_type", "basic"},
          {"downsample_in_bottleneck", true}};
}

json With(const char* key, json value) {
  json config = Config();
  config[key] = std::move(value);
  return config;
}

absl::StatusOr<ResNetConfig> Parse(const json& config) { return ParseResNetConfig(config.dump()); }

TEST(ResNetConfigTest, ReadsStagesAndOptions) {
  const auto config = Parse(Config());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, "ResNetModel");
  EXPECT_EQ(config->embedding_size, 12);
  ASSERT_EQ(config->stages.size(), 3u);
  EXPECT_EQ(config->stages[1].channels, 24);
  EXPECT_EQ(config->stages[2].depth, 3);
  EXPECT_EQ(config->layers(), 6);
  EXPECT_EQ(config->embedding_dimensions(), 40);
  EXPECT_EQ(config->layer_type, ResNetLayerType::kBasic);
  EXPECT_FALSE(config->downsample_in_first_stage);
  EXPECT_TRUE(config->downsample_in_bottleneck);
  EXPECT_THAT(config->classifier.labels, IsEmpty());
}

TEST(ResNetConfigTest, FillsInWhatTransformersAssumes) {
  const auto config = Parse({{"model_type", "resnet"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, "ResNetModel");
  EXPECT_EQ(config->embedding_size, 64);
  EXPECT_EQ(config->stages.size(), 4u);
  EXPECT_EQ(config->layers(), 16);
  EXPECT_EQ(config->embedding_dimensions(), 2048);
  EXPECT_EQ(config->layer_type, ResNetLayerType::kBottleneck);
  EXPECT_FALSE(config->downsample_in_bottleneck);
}

TEST(ResNetConfigTest, ReadsTheLabelsOfAClassifierOnly) {
  json config = With("id2label", {{"0", "cat"}, {"1", "dog"}});
  EXPECT_FALSE(Parse(config)->classifies());
  config["architectures"] = {"ResNetForImageClassification"};
  const auto classifier = Parse(config);
  ASSERT_TRUE(classifier.ok()) << classifier.status();
  EXPECT_THAT(classifier->classifier.labels, ElementsAre("cat", "dog"));
  EXPECT_EQ(classifier->classifier.problem_type, ProblemType::kSingleLabel);
}

TEST(ResNetConfigTest, RefusesByNameWhatItDoesNotCompute) {
  const struct {
    const char* key;
    json value;
  } cases[] = {{"model_type", "regnet"}, {"architectures", {"ResNetBackbone"}},
               {"hidden_act", "gelu"},   {"layer_type", "wide"},
               {"num_channels", 1},      {"quantization_config", {{"bits", 4}}}};
  for (const auto& [key, value] : cases) {
    const absl::Status status = Parse(With(key, value)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << key << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(key));
  }
}

TEST(ResNetConfigTest, RefusesWrongValuesByName) {
  const json too_many = std::vector<int>(17, 8);
  const struct {
    const char* key;
    json value;
    const char* wanted;
  } cases[] = {{"embedding_size", 0, "an integer from 1 to 65536"},
               {"embedding_size", 1 << 30, "an integer from 1 to 65536"},
               {"hidden_sizes", 16, "an array of 1 to 16 integers"},
               {"hidden_sizes", json::array(), "an array of 1 to 16 integers"},
               {"hidden_sizes", too_many, "an array of 1 to 16 integers"},
               {"hidden_sizes", {16, 24, 40.5}, "an integer from 1 to 65536"},
               {"hidden_sizes", {16, 24, nullptr}, "missing"},
               {"hidden_sizes", {16, 24}, "\"depths\" has 3"},
               {"depths", {2, 1, 0}, "an integer from 1 to 1024"},
               {"depths", {2, 1, 1 << 30}, "an integer from 1 to 1024"},
               {"depths", {500, 500, 500}, "at most 1024 together, found 1500"},
               {"layer_type", 5, "a string"},
               {"downsample_in_first_stage", 1, "true or false"},
               {"downsample_in_bottleneck", "no", "true or false"},
               {"num_channels", 0, "an integer from 1"}};
  for (const auto& [key, value, wanted] : cases) {
    const absl::Status status = Parse(With(key, value)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(key), HasSubstr(wanted)));
  }
}

TEST(ResNetConfigTest, ABottleneckNeedsFourChannels) {
  json config = With("hidden_sizes", {16, 3, 40});
  EXPECT_TRUE(Parse(config).ok());
  config["layer_type"] = "bottleneck";
  EXPECT_THAT(std::string(Parse(config).status().message()), HasSubstr("at least 4"));
}

TEST(ResNetConfigTest, ContextPoolStandsInPlaceOfPoolingLayers) {
  EXPECT_FALSE(Parse(Config())->pools(ContextPoolPlace::kStem));
  const auto both = Parse(With("context_pool", json::object()));
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_TRUE(both->pools(ContextPoolPlace::kStem) && both->pools(ContextPoolPlace::kFinal));
  const auto last = Parse(With("context_pool", {{"layers", {"final"}}, {"bottleneck", 7}}));
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_FALSE(last->pools(ContextPoolPlace::kStem));
  EXPECT_TRUE(last->pools(ContextPoolPlace::kFinal));
  EXPECT_EQ(last->context_pool.options.bottleneck, 7);
  for (const json& wrong : {json{{"layers", {0}}}, json{{"layers", {"middle"}}}, json(5)}) {
    EXPECT_THAT(std::string(Parse(With("context_pool", wrong)).status().message()),
                HasSubstr("context_pool"));
  }
}

TEST(ResNetConfigTest, RefusesWhatIsNoJsonObject) {
  for (const char* text : {"", "null", "[]", "{\"model_type\":", "\xff\xfe"}) {
    EXPECT_EQ(ParseResNetConfig(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace contextpool::engine
