#include "engine/model/context_pool_config.h"

#include <string>
#include <vector>

#include "engine/model/encoder_config.h"
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

// A classifier of three layers that reads [CLS].
constexpr ContextPoolSurroundings kClassifier = {
    .layers = 3, .reads_first_token = true, .prefix_tokens = 1};
// The same of an image's patches.
constexpr ContextPoolSurroundings kImageClassifier = {
    .layers = 3, .reads_first_token = true, .prefix_tokens = 1, .grid_width = 14};
constexpr ContextPoolSurroundings kConvNet = {
    .layers = 2, .prefix_tokens = 0, .grid_width = 56, .convnet = true};

absl::StatusOr<ContextPoolConfig> Parse(const json& object,
                                        const ContextPoolSurroundings& surroundings = kClassifier) {
  // As it comes from a file.
  return ParseContextPool(json::parse(object.dump()), surroundings);
}

ContextPoolConfig Good(const json& object,
                       const ContextPoolSurroundings& surroundings = kClassifier) {
  absl::StatusOr<ContextPoolConfig> config = Parse(object, surroundings);
  EXPECT_TRUE(config.ok()) << object << config.status();
  return config.ok() ? *config : ContextPoolConfig();
}

TEST(ContextPoolConfigTest, AnEmptyObjectIsEveryDefault) {
  const ContextPoolConfig config = Good(json::object());
  EXPECT_THAT(config.layers, ElementsAre(0, 1));
  EXPECT_EQ(config.placement, ContextPoolPlacement::kAfterAttention);
  EXPECT_EQ(config.options.activation, kernels::Activation::kGelu);
  EXPECT_EQ(config.options.weight, kernels::PoolWeight::kSigmoid);
  EXPECT_EQ(config.options.size, kernels::SupportSize::kSigmoid);
  EXPECT_EQ(config.options.normalization, kernels::PoolNormalization::kSum);
  EXPECT_EQ(config.options.residual, kernels::PoolResidual::kNone);
  EXPECT_EQ(config.options.r, 0.1f);
  EXPECT_EQ(config.options.fixed_n, 0);
  EXPECT_EQ(config.options.kernel_size, 3);
  EXPECT_EQ(config.options.bottleneck, 32);
  EXPECT_EQ(config.options.prefix, 1);
  EXPECT_EQ(config.taps(), 96);
}

TEST(ContextPoolConfigTest, ReadsEveryValue) {
  EXPECT_EQ(Good({{"placement", "after_attention"}}).placement,
            ContextPoolPlacement::kAfterAttention);
  EXPECT_EQ(Good({{"placement", "after_layer"}}).placement, ContextPoolPlacement::kAfterLayer);
  const auto options = [](const char* key, json value) { return Good({{key, value}}).options; };
  EXPECT_EQ(options("kernel_size", 255).kernel_size, 255);
  EXPECT_EQ(options("bottleneck", 4096).bottleneck, 4096);
  EXPECT_EQ(options("activation", "gelu").activation, kernels::Activation::kGelu);
  EXPECT_EQ(options("activation", "relu").activation, kernels::Activation::kRelu);
  EXPECT_EQ(options("activation", "leaky_relu").activation, kernels::Activation::kLeakyRelu);
  EXPECT_EQ(options("activation", "identity").activation, kernels::Activation::kNone);
  EXPECT_EQ(options("weight_activation", "sigmoid").weight, kernels::PoolWeight::kSigmoid);
  EXPECT_EQ(options("weight_activation", "exp").weight, kernels::PoolWeight::kExp);
  EXPECT_EQ(options("weight_activation", "softmax").weight, kernels::PoolWeight::kSoftmax);
  EXPECT_EQ(options("weight_activation", "one").weight, kernels::PoolWeight::kOne);
  EXPECT_EQ(options("size_activation", "sigmoid").size, kernels::SupportSize::kSigmoid);
  EXPECT_EQ(options("size_activation", "softmax").size, kernels::SupportSize::kSoftmax);
  EXPECT_EQ(options("size_activation", {{"fixed", 1.5}}).size, kernels::SupportSize::kFixed);
  EXPECT_EQ(options("size_activation", {{"fixed", 1.5}}).fixed_size, 1.5f);
  EXPECT_EQ(options("size_activation", {{"fixed", 0}}).fixed_size, 0);
  EXPECT_EQ(options("normalization", "sum").normalization, kernels::PoolNormalization::kSum);
  EXPECT_EQ(options("normalization", "mean").normalization, kernels::PoolNormalization::kMean);
  EXPECT_EQ(options("normalization", "none").normalization, kernels::PoolNormalization::kNone);
  EXPECT_EQ(options("r", 2).r, 2.0f);
  EXPECT_EQ(options("n_mode", "tokens").fixed_n, 0);
  EXPECT_EQ(options("n_mode", "side").fixed_n, 0);
  EXPECT_EQ(options("n_mode", {{"fixed", 64}}).fixed_n, 64);
  EXPECT_EQ(options("residual", "none").residual, kernels::PoolResidual::kNone);
  EXPECT_EQ(options("residual", "add").residual, kernels::PoolResidual::kAdd);
  EXPECT_EQ(options("residual", "gate").residual, kernels::PoolResidual::kGate);
}

TEST(ContextPoolConfigTest, WithNothingLearnedThereAreNoTaps) {
  EXPECT_EQ(Good({{"weight_activation", "one"}, {"size_activation", {{"fixed", 1}}}}).taps(), 0);
  EXPECT_EQ(Good({{"weight_activation", "one"}}).taps(), 96);
  EXPECT_EQ(Good({{"size_activation", {{"fixed", 1}}}}).taps(), 96);
}

TEST(ContextPoolConfigTest, KernelSizeAndBottleneckAreBoundedTogether) {
  EXPECT_EQ(Good({{"kernel_size", 17}, {"bottleneck", 3855}}).taps(), 65535);
  const absl::Status status = Parse({{"kernel_size", 17}, {"bottleneck", 3856}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("\"context_pool.kernel_size\" times \"context_pool.bottleneck\""),
                    HasSubstr("at most 65536, found 17 times 3856")));
}

TEST(ContextPoolConfigTest, TakesThePrefixFromTheTokeniserUnlessToldOtherwise) {
  const auto prefix = [](json object, std::optional<int32_t> of_tokenizer) {
    return Parse(object, {.layers = 3, .prefix_tokens = of_tokenizer})->options.prefix;
  };
  EXPECT_EQ(prefix(json::object(), 0), 0);
  EXPECT_EQ(prefix(json::object(), 2), 2);
  EXPECT_EQ(prefix({{"prefix_tokens", "pass_through"}}, 2), 2);
  EXPECT_EQ(prefix({{"num_prefix_tokens", 5}}, 2), 5);
  EXPECT_EQ(prefix({{"num_prefix_tokens", 0}}, 2), 0);
  EXPECT_EQ(prefix({{"num_prefix_tokens", 5}}, std::nullopt), 5);
  EXPECT_EQ(prefix({{"prefix_tokens", "pool"}}, 2), 0);
  EXPECT_EQ(prefix({{"prefix_tokens", "pool"}, {"num_prefix_tokens", 5}}, 2), 0);
  EXPECT_EQ(prefix({{"prefix_tokens", "pool"}}, std::nullopt), 0);
  const absl::Status status =
      Parse(json::object(), {.layers = 3, .reads_first_token = true, .prefix_tokens = std::nullopt})
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("context_pool.num_prefix_tokens"), HasSubstr("tokenizer.json")));
}

TEST(ContextPoolConfigTest, AutoLeavesOutALastLayerWhosePoolNobodySees) {
  const auto layers = [](json object, bool reads_first_token, int32_t prefix, int32_t count = 3) {
    return Parse(object,
                 {.layers = count, .reads_first_token = reads_first_token, .prefix_tokens = prefix})
        ->layers;
  };
  const json automatic = {{"layers", "auto"}};
  EXPECT_THAT(layers(automatic, true, 1), ElementsAre(0, 1));
  EXPECT_THAT(layers(automatic, true, 0), ElementsAre(0, 1, 2)) << "the token read is pooled";
  EXPECT_THAT(layers(automatic, false, 1), ElementsAre(0, 1, 2)) << "every token is read";
  EXPECT_THAT(layers({{"prefix_tokens", "pool"}}, true, 1), ElementsAre(0, 1, 2));
  EXPECT_THAT(layers({{"num_prefix_tokens", 0}}, true, 1), ElementsAre(0, 1, 2));
  EXPECT_THAT(layers({{"layers", "all"}}, true, 1), ElementsAre(0, 1, 2));
  EXPECT_THAT(layers({{"layers", {0, 2}}}, true, 1), ElementsAre(0, 2));
  EXPECT_THAT(layers({{"layers", json::array()}}, true, 1), IsEmpty());
  EXPECT_THAT(layers(automatic, true, 1, 1), IsEmpty());
}

TEST(ContextPoolConfigTest, OnAGridNIsItsLargerSideUnlessToldOtherwise) {
  const auto options = [](json object) { return Good(object, kImageClassifier).options; };
  EXPECT_EQ(options(json::object()).grid_width, 14);
  EXPECT_TRUE(options(json::object()).n_is_side);
  EXPECT_TRUE(options({{"n_mode", "side"}}).n_is_side);
  EXPECT_FALSE(options({{"n_mode", "tokens"}}).n_is_side);
  EXPECT_FALSE(options({{"n_mode", {{"fixed", 9}}}}).n_is_side);
  EXPECT_EQ(options({{"n_mode", {{"fixed", 9}}}}).fixed_n, 9);
  EXPECT_EQ(Good(json::object()).options.grid_width, 0);
}

TEST(ContextPoolConfigTest, OnAGridKernelsAreSquare) {
  EXPECT_EQ(Good(json::object(), kImageClassifier).taps(), 9 * 32);
  EXPECT_EQ(Good({{"kernel_size", 17}, {"bottleneck", 226}}, kImageClassifier).taps(), 289 * 226);
  EXPECT_THAT(
      Parse({{"kernel_size", 17}, {"bottleneck", 227}}, kImageClassifier).status().message(),
      AllOf(HasSubstr("\"context_pool.kernel_size\" squared times"),
            HasSubstr("at most 65536, found 289 times 227")));
}

TEST(ContextPoolConfigTest, BeforeAGridThereAreThePrefixTokensOfTheModel) {
  const ContextPoolConfig config = Good(json::object(), kImageClassifier);
  EXPECT_EQ(config.options.prefix, 1);
  EXPECT_THAT(config.layers, ElementsAre(0, 1)) << "nobody sees the last layer's pool";
  EXPECT_EQ(Good({{"num_prefix_tokens", 1}}, kImageClassifier).options.prefix, 1);
  for (int32_t other : {0, 2}) {
    EXPECT_THAT(Parse({{"num_prefix_tokens", other}}, kImageClassifier).status().message(),
                AllOf(HasSubstr("\"context_pool.num_prefix_tokens\" must be 1"),
                      HasSubstr("found " + std::to_string(other))));
  }
  EXPECT_THAT(Parse({{"prefix_tokens", "pool"}}, kImageClassifier).status().message(),
              AllOf(HasSubstr("\"context_pool.prefix_tokens\" must be \"pass_through\""),
                    HasSubstr("no place on the grid")));
}

TEST(ContextPoolConfigTest, AConvNetHasItInPlaceOfItsPoolingLayers) {
  const auto layers = [](json value) { return Good({{"layers", value}}, kConvNet).layers; };
  constexpr auto kStem = static_cast<int32_t>(ContextPoolPlace::kStem);
  constexpr auto kFinal = static_cast<int32_t>(ContextPoolPlace::kFinal);
  EXPECT_THAT(Good(json::object(), kConvNet).layers, ElementsAre(kStem, kFinal));
  EXPECT_THAT(layers("auto"), ElementsAre(kStem, kFinal));
  EXPECT_THAT(layers("all"), ElementsAre(kStem, kFinal));
  EXPECT_THAT(layers({"stem"}), ElementsAre(kStem));
  EXPECT_THAT(layers({"final"}), ElementsAre(kFinal));
  EXPECT_THAT(layers({"stem", "final"}), ElementsAre(kStem, kFinal));
  EXPECT_THAT(layers(json::array()), IsEmpty());
  for (const json& wrong : {json("stem"), json({"final", "stem"}), json({"stem", "stem"}),
                            json::array({0}), json::array({"head"}), json::array({nullptr})}) {
    EXPECT_THAT(Parse({{"layers", wrong}}, kConvNet).status().message(),
                AllOf(HasSubstr("\"context_pool.layers\" must be "),
                      HasSubstr("a list of \"stem\", \"final\" in this order")))
        << wrong;
  }
  EXPECT_FALSE(Parse({{"num_prefix_tokens", 1}}, kConvNet).ok());
  EXPECT_FALSE(Parse({{"layers", {"stem"}}}).ok()) << "texts have no such place";
}

// The refusals of each of these values under a key name it and what it allows.
void ExpectRefused(const std::string& key, const std::vector<json>& values,
                   const std::string& allowed) {
  for (const json& value : values) {
    const absl::Status status = Parse({{key, value}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key << " " << value;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("\"context_pool." + key + "\" must be "), HasSubstr(allowed)));
  }
}

TEST(ContextPoolConfigTest, RefusesWrongNamesByTheirKey) {
  const struct {
    const char* key;
    json other;
    const char* allowed;
  } cases[] = {
      {"layers", "last", "\"auto\", \"all\", a list of layers from 0 to 2 in rising order"},
      {"placement", "before", "one of \"after_attention\", \"after_layer\""},
      {"activation", "gelu_new", "\"gelu\", \"relu\", \"leaky_relu\", \"identity\""},
      {"weight_activation", "relu", "\"sigmoid\", \"exp\", \"softmax\", \"one\""},
      {"size_activation", "one", "\"sigmoid\", \"softmax\", {\"fixed\": a number}"},
      {"normalization", "softmax", "\"sum\", \"mean\", \"none\""},
      {"n_mode", "batch", "\"tokens\", \"side\", {\"fixed\": a number}"},
      {"residual", "gated", "\"none\", \"add\", \"gate\""},
      {"prefix_tokens", "skip", "\"pass_through\", \"pool\""}};
  for (const auto& [key, other, allowed] : cases) {
    ExpectRefused(key, {other, nullptr, true, 3, "", "Sigmoid", json::object()}, allowed);
    if (std::string(key) == "layers") continue;
    ExpectRefused(key, {json::array(), json::array({"sum"}), {{"fixed", 1}, {"x", 1}}}, allowed);
  }
  ExpectRefused("layers", {{3}, {-1}, {0, 0}, {1, 0}, {0.0}, {"auto"}, {nullptr}, {{0}}},
                "a list of layers from 0 to 2 in rising order");
  ExpectRefused("normalization", {{{"fixed", 1}}}, "\"sum\"");
}

TEST(ContextPoolConfigTest, RefusesWrongNumbersByTheirKey) {
  const std::vector<json> no_integers = {nullptr, true,      "3",        3.0,
                                         1e300,   INT64_MIN, UINT64_MAX, json::array({3})};
  const auto integers = [&](const char* key, const std::vector<json>& others, const char* allowed) {
    ExpectRefused(key, no_integers, allowed);
    ExpectRefused(key, others, allowed);
  };
  integers("kernel_size", {-1, 0, 2, 4, 256, 257}, "an odd integer from 1 to 255");
  integers("bottleneck", {-1, 0, 4097}, "an integer from 1 to 4096");
  integers("num_prefix_tokens", {-1, (1 << 20) + 1}, "an integer from 0 to 1048576");
  ExpectRefused("r", {nullptr, true, "1", -1, -1e-9, 0, 1e-300, 2e6, 1e300, json::array()},
                "a number above 0 and at most 1e+06");
}

TEST(ContextPoolConfigTest, RefusesWrongFixedNumbersByTheirKey) {
  for (const json& value : {json(nullptr), json(true), json("1"), json(-1), json(-1e-9), json(2e9),
                            json(1e300), json::array(), json::object()}) {
    EXPECT_THAT(Parse({{"size_activation", {{"fixed", value}}}}).status().message(),
                AllOf(HasSubstr("context_pool.size_activation.fixed"),
                      HasSubstr("a number of at least 0 and at most 1e+09")));
    EXPECT_THAT(Parse({{"n_mode", {{"fixed", value}}}}).status().message(),
                AllOf(HasSubstr("context_pool.n_mode.fixed"),
                      HasSubstr("a number above 0 and at most 1e+09")));
  }
  EXPECT_FALSE(Parse({{"n_mode", {{"fixed", 0}}}}).ok());
}

TEST(ContextPoolConfigTest, RefusesUnknownKeysByName) {
  for (const char* key : {"kernelsize", "Layers", "gamma", "", "sigma"}) {
    EXPECT_THAT(Parse({{key, 3}}).status().message(),
                AllOf(HasSubstr("context_pool"), HasSubstr("unknown key \"" + std::string(key)),
                      HasSubstr("layers, placement, kernel_size"), HasSubstr("num_prefix_tokens")));
  }
}

TEST(ContextPoolConfigTest, RefusesWhatIsNoObject) {
  for (const json& value : {json(true), json(1), json("auto"), json::array()}) {
    EXPECT_THAT(Parse(value).status().message(),
                AllOf(HasSubstr("\"context_pool\""), HasSubstr("an object")));
  }
}

// As a part of config.json.

absl::StatusOr<EncoderConfig> ParseWith(const json& extra) {
  json config = SmallConfig();
  config["num_hidden_layers"] = 3;
  config.update(extra);
  return ParseEncoderConfig(config.dump(), 1);
}

TEST(ContextPoolConfigTest, AModelWithoutTheObjectIsPlain) {
  for (const json& extra : {json::object(), json{{"context_pool", nullptr}}}) {
    EXPECT_TRUE(ParseWith(extra)->context_pool.layers.empty());
  }
  EXPECT_FALSE(ParseWith({{"context_pool", json::object()}})->context_pool.layers.empty());
  EXPECT_TRUE(
      ParseWith({{"context_pool", {{"layers", json::array()}}}})->context_pool.layers.empty());
}

TEST(ContextPoolConfigTest, AutoLooksAtWhatTheClassifierReads) {
  const auto layers = [](const char* architecture, json pooling) {
    return ParseWith({{"architectures", {architecture}},
                      {"classifier_pooling", pooling},
                      {"context_pool", json::object()}})
        ->context_pool.layers;
  };
  const char* classifier = "BertForSequenceClassification";
  EXPECT_THAT(layers(classifier, "cls"), ElementsAre(0, 1));
  EXPECT_THAT(layers(classifier, nullptr), ElementsAre(0, 1));
  EXPECT_THAT(layers(classifier, "mean"), ElementsAre(0, 1, 2));
  EXPECT_THAT(layers("BertModel", "cls"), ElementsAre(0, 1, 2)) << "requests choose the pooling";
}

TEST(ContextPoolConfigTest, FaultsInsideConfigJsonNameTheirKey) {
  EXPECT_THAT(ParseWith({{"context_pool", {{"r", 0}}}}).status().message(),
              HasSubstr("context_pool.r"));
  EXPECT_THAT(ParseWith({{"context_pool", 5}}).status().message(), HasSubstr("context_pool"));
}

}  // namespace
}  // namespace contextpool::engine
