#include "server/config/serving_config.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Error(absl::string_view text) {
  const auto settings = ParseServingConfig(text, "m/serving.textproto");
  if (settings.ok()) return "accepted";
  EXPECT_EQ(settings.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(settings.status().message());
}

TEST(ServingConfigTest, EmptyKeepsTheDefaults) {
  const auto settings = ParseServingConfig("", "f");
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->spec.queue.batch_token_budget, engine::QueueOptions().batch_token_budget);
  EXPECT_EQ(settings->spec.queue.max_wait, engine::QueueOptions().max_wait);
  EXPECT_EQ(settings->spec.queue.result_cache_bytes, 0);
  EXPECT_EQ(settings->spec.pooling, std::nullopt);
  EXPECT_EQ(settings->spec.golden_tolerance, std::nullopt);
  EXPECT_EQ(settings->latest_versions, 1);
}

TEST(ServingConfigTest, ReadsEveryPooling) {
  for (engine::Pooling pooling :
       {engine::Pooling::kMean, engine::Pooling::kCls, engine::Pooling::kMax,
        engine::Pooling::kLastToken, engine::Pooling::kPooler}) {
    const auto settings =
        ParseServingConfig(absl::StrCat("pooling: POOLING_", engine::Name(pooling)), "f");
    ASSERT_TRUE(settings.ok()) << settings.status();
    EXPECT_EQ(settings->spec.pooling, std::optional(pooling));
  }
}

TEST(ServingConfigTest, ReadsWhatItKnows) {
  const auto settings = ParseServingConfig(R"(
      dtype: "float32" device: "cpu" pooling: POOLING_CLS normalize: false max_tokens: 128
      golden_tolerance: 0.003
      batching { token_budget: 2048 max_inputs: 32 max_wait_us: 700 }
      queue { max_tokens: 4096 max_inputs: 99 max_bytes: 5000 default_deadline_ms: 250
              interactive_weight: 5 bulk_weight: 2 }
      result_cache_bytes: 123456
      version_policy { specific { versions: [3, 1] } })",
                                           "f");
  ASSERT_TRUE(settings.ok()) << settings.status();
  const engine::ModelSpec& spec = settings->spec;
  EXPECT_EQ(spec.pooling, std::optional(engine::Pooling::kCls));
  EXPECT_EQ(spec.normalize, std::optional(false));
  EXPECT_EQ(spec.max_tokens, std::optional(128));
  EXPECT_EQ(spec.golden_tolerance, std::optional(0.003));
  EXPECT_EQ(spec.queue.batch_token_budget, 2048);
  EXPECT_EQ(spec.queue.batch_max_inputs, 32);
  EXPECT_EQ(spec.queue.max_tokens, 4096);
  EXPECT_EQ(spec.queue.max_inputs, 99);
  EXPECT_EQ(spec.queue.max_bytes, 5000);
  EXPECT_EQ(spec.queue.default_deadline, std::chrono::milliseconds(250));
  EXPECT_EQ(spec.queue.max_wait, std::chrono::microseconds(700));
  EXPECT_EQ(spec.queue.interactive_weight, 5);
  EXPECT_EQ(spec.queue.bulk_weight, 2);
  EXPECT_EQ(spec.queue.result_cache_bytes, 123456);
  EXPECT_THAT(settings->specific_versions, testing::ElementsAre(1, 3));
}

TEST(ServingConfigTest, ReadsDeviceAndDType) {
  const auto empty = ParseServingConfig("", "f");
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->spec.device, "");
  EXPECT_EQ(empty->spec.dtype, std::nullopt);
  const auto cpu = ParseServingConfig("device: \"cpu\" dtype: \"float32\"", "f");
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_EQ(cpu->spec.device, "cpu");
  EXPECT_EQ(cpu->spec.dtype, std::optional(engine::DType::kF32));
  const auto gpu = ParseServingConfig("device: \"cuda:11\" dtype: \"float16\"", "f");
  ASSERT_TRUE(gpu.ok()) << gpu.status();
  EXPECT_EQ(gpu->spec.device, "cuda:11");
  EXPECT_EQ(gpu->spec.dtype, std::optional(engine::DType::kF16));
  const auto bfloat = ParseServingConfig("dtype: \"bfloat16\"", "f");
  ASSERT_TRUE(bfloat.ok()) << bfloat.status();
  EXPECT_EQ(bfloat->spec.dtype, std::optional(engine::DType::kBF16));
}

TEST(ServingConfigTest, UnknownFieldsNameFileAndLine) {
  EXPECT_THAT(Error("dtype: \"float32\"\n  tokens: 3"), StartsWith("m/serving.textproto:2:"));
  EXPECT_THAT(Error("dtype: \"float32\"\n  tokens: 3"), HasSubstr("tokens"));
  EXPECT_THAT(Error("batching { token_budget: \"many\" }"), StartsWith("m/serving.textproto:1:"));
  EXPECT_THAT(Error("pooling: POOLING_MEDIAN"), StartsWith("m/serving.textproto:1:"));
}

TEST(ServingConfigTest, ValuesOutOfRangeNameLineFieldAndRange) {
  EXPECT_EQ(Error("batching {\n  token_budget: 0\n}"),
            "m/serving.textproto:2: batching.token_budget: 0 is out of range: allowed is 1 to"
            " 1048576");
  EXPECT_THAT(Error("\n\nmax_tokens: 1"),
              StartsWith("m/serving.textproto:3: max_tokens: 1 is out"));
  EXPECT_THAT(Error("queue { default_deadline_ms: 0 }"), HasSubstr("queue.default_deadline_ms: 0"));
  EXPECT_THAT(Error("queue {\n\n bulk_weight: 0 }"),
              StartsWith("m/serving.textproto:3: queue.bulk_weight: 0 is out of range"));
  EXPECT_THAT(Error("queue { interactive_weight: 1001 }"), HasSubstr("allowed is 1 to 1000"));
  EXPECT_THAT(Error("batching { max_wait_us: 1000001 }"), HasSubstr("allowed is 0 to 1000000"));
  EXPECT_THAT(Error("dtype: \"int4\""), HasSubstr("dtype: \"int4\" is not supported: allowed"));
  for (const char* device :
       {"gpu", "cuda", "cuda:", "cuda:-1", "cuda:00", "cuda:1x", "CPU", "auto"}) {
    EXPECT_THAT(Error(absl::StrCat("\ndevice: \"", device, "\"")),
                AllOf(StartsWith("m/serving.textproto:2: device: "),
                      HasSubstr("allowed is \"cpu\" or \"cuda:<index>\"")))
        << device;
  }
  EXPECT_THAT(Error("pooling: 17"), HasSubstr("17"));
  for (const char* tolerance : {"0", "-0.1", "1.5", "nan", "inf"}) {
    EXPECT_THAT(Error(absl::StrCat("\ngolden_tolerance: ", tolerance)),
                AllOf(StartsWith("m/serving.textproto:2: golden_tolerance: "),
                      HasSubstr("allowed is above 0 to 1")))
        << tolerance;
  }
}

TEST(ServingConfigTest, AQueueMayBeSmallerThanTheBudgetThatNobodyAskedFor) {
  EXPECT_EQ(Error("queue { max_tokens: 100 }"), "accepted");
}

TEST(ServingConfigTest, ImpossibleCombinationsAreRefused) {
  EXPECT_THAT(Error("queue {\n max_tokens: 100 } batching { token_budget: 101 }"),
              StartsWith("m/serving.textproto:2: queue.max_tokens: 100 is below"));
  EXPECT_THAT(Error("max_tokens: 512 batching { token_budget: 256 }"),
              HasSubstr("the longest input would fit no batch"));
  EXPECT_THAT(Error("version_policy { specific { versions: [2, 2] } }"), HasSubstr("listed once"));
  EXPECT_THAT(Error("version_policy { specific { } }"), HasSubstr("lists no version"));
}

TEST(ServingConfigTest, FieldsOfLaterVersionsAreRefusedByName) {
  for (const char* text : {"matryoshka_dimensions: 64", "prompts { key: \"q\" value: \"query: \" }",
                           "default_prompt_name: \"q\""}) {
    EXPECT_THAT(Error(text), HasSubstr("does not support the field yet")) << text;
  }
  EXPECT_THAT(Error("\nprompts { key: \"q\" value: \"x\" }"),
              StartsWith("m/serving.textproto:2: prompts:"));
}

}  // namespace
}  // namespace contextpool::server
