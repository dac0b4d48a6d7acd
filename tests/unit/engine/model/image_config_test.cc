#include "engine/model/image_config.h"

#include <string>

#include "engine/base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Of a processor with these keys besides its type.
absl::StatusOr<ImageConfig> Parse(const std::string& type, const json& keys,
                                  std::optional<ImageSize> model_reads = std::nullopt) {
  json config = keys;
  config["image_processor_type"] = type;
  return ParseImageConfig(config.dump(), model_reads);
}

std::string Problem(const std::string& type, const json& keys,
                    std::optional<ImageSize> model_reads = std::nullopt) {
  const auto config = Parse(type, keys, model_reads);
  if (config.ok()) return "";
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(config.status().message());
}

const json kEmpty = json::object();

TEST(ImageConfig, AbsentKeysHaveTheProcessorsDefaults) {
  const ImageConfig vit = *Parse("ViTImageProcessor", kEmpty);
  EXPECT_EQ(vit.size, (ImageSize{224, 224}));
  EXPECT_EQ(vit.resize, vit.size);
  EXPECT_EQ(vit.resample, Resample::kBilinear);
  EXPECT_FALSE(vit.center_crop);
  EXPECT_EQ(vit.rescale_factor, 1.0 / 255);
  EXPECT_THAT(vit.mean, ElementsAre(0.5, 0.5, 0.5));
  EXPECT_THAT(vit.std, ElementsAre(0.5, 0.5, 0.5));

  const ImageConfig deit = *Parse("DeiTImageProcessor", kEmpty);
  EXPECT_EQ(deit.resize, (ImageSize{256, 256}));
  EXPECT_EQ(deit.size, (ImageSize{224, 224}));
  EXPECT_TRUE(deit.center_crop);
  EXPECT_EQ(deit.resample, Resample::kBicubic);

  const ImageConfig convnext = *Parse("ConvNextImageProcessor", kEmpty);
  EXPECT_EQ(convnext.resize, (ImageSize{384, 384}));
  EXPECT_EQ(convnext.shortest_edge, 0);
  EXPECT_FALSE(convnext.center_crop);

  const ImageConfig bit = *Parse("BitImageProcessor", kEmpty);
  EXPECT_EQ(bit.shortest_edge, 224);
  EXPECT_EQ(bit.size, (ImageSize{224, 224}));
  EXPECT_TRUE(bit.center_crop);
  EXPECT_THAT(bit.mean, ElementsAre(0.48145466, 0.4578275, 0.40821073));
}

TEST(ImageConfig, NullIsAsAbsent) {
  const ImageConfig deit =
      *Parse("DeiTImageProcessor", {{"crop_size", nullptr}, {"image_mean", nullptr}});
  EXPECT_EQ(deit.size, (ImageSize{224, 224}));
  EXPECT_THAT(deit.mean, ElementsAre(0.5, 0.5, 0.5));
}

TEST(ImageConfig, TheTypeHasSeveralSpellings) {
  for (const char* type : {"ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil",
                           "ViTFeatureExtractor"}) {
    EXPECT_TRUE(Parse(type, kEmpty).ok()) << type;
  }
  EXPECT_TRUE(
      ParseImageConfig(R"({"feature_extractor_type": "ConvNextFeatureExtractor"})", {}).ok());
  for (const char* type : {"ViT", "CLIPImageProcessor", "ImageProcessor", ""}) {
    const auto config = Parse(type, kEmpty);
    EXPECT_EQ(config.status().code(), absl::StatusCode::kUnimplemented) << type;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("image_processor_type"));
  }
  EXPECT_THAT(std::string(ParseImageConfig("{}", {}).status().message()),
              HasSubstr("\"image_processor_type\" is missing"));
}

TEST(ImageConfig, ResNetsCropByPercentage) {
  const ImageConfig small =
      *Parse("ConvNextImageProcessor", {{"size", {{"shortest_edge", 224}}}, {"crop_pct", 0.875}});
  EXPECT_EQ(small.shortest_edge, 256);
  EXPECT_TRUE(small.center_crop);
  EXPECT_EQ(small.size, (ImageSize{224, 224}));
  // Rounded down: 28 / 0.98 = 28.57.
  EXPECT_EQ(Parse("ConvNextImageProcessor", {{"size", 28}, {"crop_pct", 0.98}})->shortest_edge, 28);
  const ImageConfig large = *Parse("ConvNextImageProcessor", {{"size", 400}, {"crop_pct", 0.5}});
  EXPECT_EQ(large.resize, (ImageSize{400, 400}));
  EXPECT_FALSE(large.center_crop);
  EXPECT_THAT(Problem("ConvNextImageProcessor", {{"size", {{"height", 8}, {"width", 8}}}}),
              HasSubstr("\"size\""));
  EXPECT_THAT(Problem("ConvNextImageProcessor", {{"crop_pct", 0}}), HasSubstr("\"crop_pct\""));
  EXPECT_THAT(Problem("ConvNextImageProcessor", {{"size", 224}, {"crop_pct", 1000}}),
              HasSubstr("\"crop_pct\""));
  EXPECT_THAT(Problem("ConvNextImageProcessor", {{"do_center_crop", true}, {"crop_size", 8}}),
              HasSubstr("\"crop_size\""));
}

TEST(ImageConfig, SizesHaveSeveralSpellings) {
  for (const json& size : {json(32), json({{"height", 32}, {"width", 32}}), json({32, 32})}) {
    EXPECT_EQ(Parse("ViTImageProcessor", {{"size", size}})->resize, (ImageSize{32, 32}));
    EXPECT_EQ(Parse("BitImageProcessor", {{"crop_size", size}})->size, (ImageSize{32, 32}));
  }
  const json sides = {{"height", 20}, {"width", 30}};
  EXPECT_EQ(Parse("ViTImageProcessor", {{"size", sides}})->resize, (ImageSize{20, 30}));
  EXPECT_EQ(Parse("ViTImageProcessor", {{"size", {20, 30}}})->resize, (ImageSize{20, 30}));
  // A bare number is the shorter side to processors that keep the aspect ratio.
  EXPECT_EQ(Parse("BitImageProcessor", {{"size", 32}})->shortest_edge, 32);
  EXPECT_EQ(Parse("BitImageProcessor", {{"size", 32}, {"default_to_square", true}})->resize,
            (ImageSize{32, 32}));
}

TEST(ImageConfig, SizesOutOfRangeAreRefused) {
  for (const json& size : {json(0), json(-1), json(8193), json(1.5), json("224"), json(true)}) {
    EXPECT_THAT(Problem("ViTImageProcessor", {{"size", size}}), HasSubstr("\"size.height\""));
    EXPECT_THAT(Problem("ViTImageProcessor", {{"size", {{"height", 8}, {"width", size}}}}),
                HasSubstr("\"size.width\""));
    EXPECT_THAT(Problem("BitImageProcessor", {{"size", {{"shortest_edge", size}}}}),
                HasSubstr("\"size.shortest_edge\""));
    EXPECT_THAT(Problem("BitImageProcessor", {{"crop_size", size}}), HasSubstr("\"crop_size"));
  }
  for (const json& size : {json({{"longest_edge", 8}}), json::array({1, 2, 3}), json::object(),
                           json({{"shortest_edge", 8}, {"longest_edge", 9}})}) {
    EXPECT_THAT(Problem("ViTImageProcessor", {{"size", size}}), HasSubstr("\"size\""));
  }
}

TEST(ImageConfig, TheResultMustHaveOneSize) {
  const json shortest = {{"size", {{"shortest_edge", 32}}}};
  EXPECT_THAT(Problem("ViTImageProcessor", shortest), HasSubstr("\"size.shortest_edge\" without"));
  EXPECT_THAT(Problem("ViTImageProcessor", {{"do_resize", false}}), HasSubstr("\"do_resize\""));
  const ImageConfig as_they_are = *Parse("ViTImageProcessor", {{"do_resize", false}}, {{9, 8}});
  EXPECT_EQ(as_they_are.size, (ImageSize{9, 8}));
  EXPECT_FALSE(as_they_are.resizes());
  EXPECT_THAT(Problem("BitImageProcessor", {{"crop_size", {{"shortest_edge", 8}}}}),
              HasSubstr("\"crop_size\" must give"));
}

TEST(ImageConfig, TheResultMustBeWhatTheModelReads) {
  EXPECT_TRUE(Parse("ViTImageProcessor", {{"size", 32}}, {{32, 32}}).ok());
  EXPECT_THAT(Problem("ViTImageProcessor", {{"size", 32}}, {{32, 33}}),
              AllOf(HasSubstr("\"size\" makes"), HasSubstr("32 x 33")));
  EXPECT_THAT(Problem("BitImageProcessor", {{"crop_size", 32}}, {{33, 32}}),
              HasSubstr("\"crop_size\" makes"));
}

TEST(ImageConfig, RescalingAndNormalisingMayBeOff) {
  const json values = {
      {"rescale_factor", 0.5}, {"image_mean", {1, 2, 3}}, {"image_std", {4, 5, 6}}};
  const ImageConfig on = *Parse("ViTImageProcessor", values);
  EXPECT_EQ(on.rescale_factor, 0.5);
  EXPECT_THAT(on.mean, ElementsAre(1, 2, 3));
  EXPECT_THAT(on.std, ElementsAre(4, 5, 6));
  json off = values;
  off["do_rescale"] = off["do_normalize"] = false;
  const ImageConfig none = *Parse("ViTImageProcessor", off);
  EXPECT_THAT(none.scale(), ElementsAre(1, 1, 1));
  EXPECT_THAT(none.offset(), ElementsAre(0, 0, 0));
  EXPECT_THAT(Parse("ViTImageProcessor", {{"image_std", 0.25}})->std,
              ElementsAre(0.25, 0.25, 0.25));
}

TEST(ImageConfig, WrongValuesAreRefusedByName) {
  const std::pair<const char*, json> wrong[] = {
      {"resample", 6},          {"resample", "bicubic"},      {"resample", -1},
      {"do_resize", 1},         {"do_center_crop", "yes"},    {"do_rescale", 0},
      {"do_normalize", "true"}, {"rescale_factor", 0},        {"rescale_factor", "1/255"},
      {"rescale_factor", 1e9},  {"image_mean", {0.5, 0.5}},   {"image_mean", {0.5, "x", 0.5}},
      {"image_mean", "x"},      {"image_std", {0.5, 0, 0.5}}, {"image_std", {1, 1, -1}},
      {"do_pad", true},         {"default_to_square", 2}};
  for (const auto& [key, value] : wrong) {
    json keys = {{key, value}, {"size", 224}};
    EXPECT_THAT(Problem("ViTImageProcessor", keys), HasSubstr(key)) << value;
  }
}

TEST(ImageConfig, UnknownKeysAreRefusedUnlessTheyAreNull) {
  EXPECT_THAT(Problem("ViTImageProcessor", {{"do_flip", true}}), HasSubstr("\"do_flip\""));
  EXPECT_EQ(Problem("ViTImageProcessor", {{"do_flip", nullptr}}), "");
  EXPECT_EQ(Problem("ViTImageProcessor", {{"data_format", "channels_first"},
                                          {"_valid_processor_keys", {"images"}},
                                          {"do_convert_rgb", true},
                                          {"do_pad", false},
                                          {"processor_class", "x"}}),
            "");
}

TEST(ImageConfig, BrokenFilesAreRefused) {
  for (const char* text : {"", "[]", "{", "null", "{\"image_processor_type\": 3}"}) {
    EXPECT_EQ(ParseImageConfig(text, {}).status().code(), absl::StatusCode::kInvalidArgument)
        << text;
  }
}

}  // namespace
}  // namespace contextpool::engine
