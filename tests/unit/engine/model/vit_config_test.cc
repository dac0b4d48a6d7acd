#include "engine/model/vit_config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json Vit() {
  return {{"model_type", "vit"},      {"architectures", {"ViTModel"}},
          {"hidden_size", 8},         {"num_hidden_layers", 3},
          {"num_attention_heads", 2}, {"intermediate_size", 12},
          {"image_size", 32},         {"patch_size", 8}};
}

json Dinov2(const char* type, const char* architecture) {
  return {{"model_type", type},     {"architectures", {architecture}}, {"hidden_size", 8},
          {"num_hidden_layers", 3}, {"num_attention_heads", 2},        {"mlp_ratio", 3}};
}

json With(json config, const char* key, json value) {
  config[key] = std::move(value);
  return config;
}

absl::StatusOr<VitConfig> Parse(const json& config) { return ParseVitConfig(config.dump()); }

absl::Status Refusal(const char* key, json value, json config = Vit()) {
  return Parse(With(std::move(config), key, std::move(value))).status();
}

std::vector<std::pair<int32_t, Pooling>> Parts(const VitConfig& config) {
  std::vector<std::pair<int32_t, Pooling>> parts;
  for (const ReadoutPart& part : config.classifier_parts) {
    parts.emplace_back(part.first, part.pooling);
  }
  return parts;
}

TEST(VitConfigTest, ReadsSizesAndFillsDefaults) {
  const auto config = Parse(Vit());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, "ViTModel");
  EXPECT_EQ(config->hidden_size, 8);
  EXPECT_EQ(config->layers, 3);
  EXPECT_EQ(config->intermediate_size, 12);
  EXPECT_EQ(config->layer_norm_eps, 1e-12f);
  EXPECT_EQ(config->activation, kernels::Activation::kGelu);
  EXPECT_EQ(config->image, (ImageSize{32, 32}));
  EXPECT_EQ(config->GridOf(config->image), (ImageSize{4, 4}));
  EXPECT_EQ(config->prefix(), 1);
  EXPECT_TRUE(config->qkv_bias);
  EXPECT_FALSE(config->layer_scale);
  EXPECT_EQ(config->position_resize, PositionResize::kNone);
  EXPECT_FALSE(config->classifies());
}

TEST(VitConfigTest, AssumesWhatTransformersDoes) {
  json bare = Vit();
  for (const char* key : {"architectures", "image_size", "patch_size"}) bare.erase(key);
  const auto vit = Parse(bare);
  ASSERT_TRUE(vit.ok()) << vit.status();
  EXPECT_EQ(vit->architecture, "ViTModel");
  EXPECT_EQ(vit->image, (ImageSize{224, 224}));
  EXPECT_EQ(vit->patch_size, 16);
  const auto dinov2 = Parse(Dinov2("dinov2", "Dinov2Model"));
  ASSERT_TRUE(dinov2.ok()) << dinov2.status();
  EXPECT_EQ(dinov2->patch_size, 14);
  EXPECT_EQ(dinov2->layer_norm_eps, 1e-6f);
  EXPECT_EQ(dinov2->intermediate_size, 24);
}

TEST(VitConfigTest, ImagesMayBeOblong) {
  const auto config = Parse(With(With(Vit(), "image_size", {20, 33}), "patch_size", {6, 6}));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->image, (ImageSize{20, 33}));
  EXPECT_EQ(config->patch_size, 6);
  EXPECT_EQ(config->GridOf(config->image), (ImageSize{3, 5}));
  for (const json& value : {json::array(), json({8}), json({8, 8, 8}), json({8, 0}), json({8, "8"}),
                            json(0), json(1.5), json("8"), json(1 << 20)}) {
    for (const char* key : {"image_size", "patch_size"}) {
      const absl::Status status = Refusal(key, value);
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key << value;
      EXPECT_THAT(status.message(), HasSubstr(key));
    }
  }
}

TEST(VitConfigTest, AnImageIsOnePatchAtLeastAndNotTooMany) {
  EXPECT_THAT(Refusal("patch_size", 33).message(),
              AllOf(HasSubstr("patch_size"), HasSubstr("32 x 32")));
  EXPECT_TRUE(Parse(With(Vit(), "patch_size", 32)).ok());
  EXPECT_TRUE(Parse(With(With(Vit(), "image_size", 256), "patch_size", 1)).ok());
  EXPECT_THAT(Refusal("image_size", 257, With(Vit(), "patch_size", 1)).message(),
              HasSubstr("66049 patches"));
}

TEST(VitConfigTest, EveryArchitectureHasItsOwnTokensAndReadOut) {
  json deit = With(Vit(), "model_type", "deit");
  const auto parse = [](json config, const char* architecture) {
    config["architectures"] = {architecture};
    return *Parse(config);
  };
  using P = std::pair<int32_t, Pooling>;
  const VitConfig vit = parse(Vit(), "ViTForImageClassification");
  EXPECT_EQ(vit.labels.size(), 2u);
  EXPECT_THAT(Parts(vit), ElementsAre(P(0, Pooling::kCls)));
  EXPECT_EQ(parse(deit, "DeiTModel").prefix(), 2);
  EXPECT_THAT(Parts(parse(deit, "DeiTForImageClassification")), ElementsAre(P(0, Pooling::kCls)));
  const VitConfig teacher = parse(deit, "DeiTForImageClassificationWithTeacher");
  EXPECT_THAT(Parts(teacher), ElementsAre(P(0, Pooling::kCls), P(1, Pooling::kCls)));
  EXPECT_TRUE(teacher.averages_classifiers);
  const VitConfig plain = parse(Dinov2("dinov2", ""), "Dinov2ForImageClassification");
  EXPECT_THAT(Parts(plain), ElementsAre(P(0, Pooling::kCls), P(1, Pooling::kMean)));
  EXPECT_FALSE(plain.averages_classifiers);
  EXPECT_EQ(plain.position_resize, PositionResize::kBicubic);
  const VitConfig registers =
      parse(With(Dinov2("dinov2_with_registers", ""), "num_register_tokens", 5),
            "Dinov2WithRegistersForImageClassification");
  EXPECT_EQ(registers.prefix(), 6);
  EXPECT_THAT(Parts(registers), ElementsAre(P(0, Pooling::kCls), P(6, Pooling::kMean)));
  EXPECT_EQ(registers.position_resize, PositionResize::kBicubicAntialiased);
}

TEST(VitConfigTest, AClassifierMayReadTheMeanOfAllTokens) {
  const json classifier = With(Vit(), "architectures", {"ViTForImageClassification"});
  const auto config = Parse(With(classifier, "classifier_pooling", "mean"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(Parts(*config), ElementsAre(std::pair(0, Pooling::kMean)));
  const json dinov2 = Dinov2("dinov2", "Dinov2ForImageClassification");
  EXPECT_EQ(Refusal("classifier_pooling", "mean", dinov2).code(), absl::StatusCode::kUnimplemented);
}

TEST(VitConfigTest, RefusesByNameWhatItDoesNotCompute) {
  const json dinov2 = Dinov2("dinov2", "Dinov2Model");
  const struct {
    const char* key;
    json value;
    json config;
  } cases[] = {{"model_type", "swin", Vit()},
               {"architectures", {"ViTForMaskedImageModeling"}, Vit()},
               {"architectures", {"DeiTModel"}, Vit()},
               {"num_channels", 1, Vit()},
               {"patch_size", {4, 8}, Vit()},
               {"hidden_act", "silu", Vit()},
               {"classifier_pooling", "max", Vit()},
               {"quantization_config", {{"bits", 4}}, Vit()},
               {"use_swiglu_ffn", true, dinov2},
               {"image_size", {28, 42}, dinov2}};
  for (const auto& [key, value, config] : cases) {
    const absl::Status status = Refusal(key, value, config);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << key << status;
    EXPECT_THAT(status.message(), HasSubstr(key));
  }
}

TEST(VitConfigTest, ChecksTheRangeOfEverySize) {
  const json registers = Dinov2("dinov2_with_registers", "Dinov2WithRegistersModel");
  const std::pair<const char*, json> keys[] = {{"hidden_size", Vit()},
                                               {"num_hidden_layers", Vit()},
                                               {"num_attention_heads", Vit()},
                                               {"intermediate_size", Vit()},
                                               {"num_channels", Vit()},
                                               {"mlp_ratio", registers},
                                               {"num_register_tokens", registers}};
  for (const auto& [key, config] : keys) {
    for (const json& value : {json(-1), json(1e30), json(8.5), json("8"), json(true),
                              json(UINT64_MAX), json(INT64_MIN), json(1 << 30)}) {
      const absl::Status status = Refusal(key, value, config);
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key << " " << value;
      EXPECT_THAT(status.message(), HasSubstr(key));
    }
  }
  EXPECT_THAT(Refusal("num_attention_heads", 3).message(), HasSubstr("not a multiple"));
}

}  // namespace
}  // namespace contextpool::engine
