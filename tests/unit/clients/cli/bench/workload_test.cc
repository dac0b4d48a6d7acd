#include "clients/cli/bench/workload.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_split.h"
#include "clients/cli/bench/made_up_texts.h"
#include "contextpool/v1/classification.pb.h"
#include "contextpool/v1/embedding.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

std::vector<size_t> WordCounts(const TextLengths& lengths, size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<size_t> counts;
  for (const std::string& text : MakeUpTexts(lengths, count, random)) {
    const std::vector<std::string> words = absl::StrSplit(text, ' ');
    counts.push_back(words.size());
  }
  return counts;
}

double MeanOf(const std::vector<size_t>& counts) {
  double sum = 0;
  for (const size_t count : counts) sum += static_cast<double>(count);
  return sum / static_cast<double>(counts.size());
}

TEST(MakeUpTexts, FixedLengthsAreExact) {
  EXPECT_THAT(WordCounts({.shape = TextLengths::Shape::kFixed, .min = 32, .max = 32}, 50, 1),
              Each(32u));
}

TEST(MakeUpTexts, UniformLengthsReachBothEnds) {
  const auto counts = WordCounts({.min = 5, .max = 8}, 4000, 1);
  EXPECT_EQ(*std::min_element(counts.begin(), counts.end()), 5u);
  EXPECT_EQ(*std::max_element(counts.begin(), counts.end()), 8u);
  EXPECT_NEAR(MeanOf(counts), 6.5, 4 * 1.12 / 63);
}

TEST(MakeUpTexts, LognormalLengthsHaveTheirMeanAndKeepTheirBounds) {
  TextLengths lengths{.shape = TextLengths::Shape::kLognormal, .min = 1, .max = 100000};
  lengths.mean = 30;
  lengths.deviation = 20;
  const auto counts = WordCounts(lengths, 10000, 1);
  EXPECT_NEAR(MeanOf(counts), 30, 4 * 20 / 100.0);
  double variance = 0;
  for (const size_t count : counts) variance += (count - 30.0) * (count - 30.0) / 10000;
  EXPECT_NEAR(std::sqrt(variance), 20, 2);
  lengths.max = 40;
  const auto bounded = WordCounts(lengths, 1000, 1);
  EXPECT_EQ(*std::max_element(bounded.begin(), bounded.end()), 40u);
}

TEST(MakeUpTexts, TheSeedDecidesThem) {
  Random first(1), again(1), other(2);
  const auto texts = MakeUpTexts(kDefaultLengths, 20, first);
  EXPECT_EQ(texts, MakeUpTexts(kDefaultLengths, 20, again));
  EXPECT_NE(texts, MakeUpTexts(kDefaultLengths, 20, other));
}

template <typename Request>
Request Parse(grpc::ByteBuffer buffer) {
  grpc::Slice slice;
  EXPECT_TRUE(buffer.DumpToSingleSlice(&slice).ok());
  Request request;
  EXPECT_TRUE(request.ParseFromArray(slice.begin(), static_cast<int>(slice.size())));
  return request;
}

std::vector<std::string> TextsOf(const Workload& workload, uint64_t index) {
  std::vector<std::string> texts;
  const auto request = Parse<v1::EmbedRequest>(workload.Request(index, false));
  for (const v1::Input& input : request.inputs()) texts.push_back(input.text());
  return texts;
}

Workload Make(const Options& options, std::vector<std::string> texts) {
  auto workload = Workload::Make(options, std::move(texts));
  EXPECT_TRUE(workload.ok()) << workload.status();
  return *std::move(workload);
}

TEST(Workload, TakesTextsInTurnAndStartsAgain) {
  Options options;
  options.load.batch = 2;
  const Workload workload = Make(options, {"a", "b", "c"});
  EXPECT_THAT(TextsOf(workload, 0), ElementsAre("a", "b"));
  EXPECT_THAT(TextsOf(workload, 1), ElementsAre("c", "a"));
  EXPECT_THAT(TextsOf(workload, 2), ElementsAre("a", "b"));
  EXPECT_EQ(workload.texts(), 3u);
}

TEST(Workload, AFileMayHoldFewerTextsThanARequest) {
  Options options;
  options.load.batch = 5;
  EXPECT_THAT(TextsOf(Make(options, {"a", "b"}), 0), ElementsAre("a", "b", "a", "b", "a"));
}

TEST(Workload, RequestsCarryModelClassAndOptions) {
  Options options;
  options.model = "mini";
  options.model_version = 3;
  options.truncation = v1::TRUNCATION_REJECT;
  const Workload workload = Make(options, {"a"});
  const auto interactive = Parse<v1::EmbedRequest>(workload.Request(0, false));
  EXPECT_EQ(interactive.model().name(), "mini");
  EXPECT_EQ(interactive.model().version(), 3);
  EXPECT_EQ(interactive.options().truncation(), v1::TRUNCATION_REJECT);
  EXPECT_NE(interactive.priority(), v1::PRIORITY_BULK);
  const auto bulk = Parse<v1::EmbedRequest>(workload.Request(0, true));
  EXPECT_EQ(bulk.priority(), v1::PRIORITY_BULK);
  ASSERT_EQ(bulk.inputs_size(), 1);
  EXPECT_EQ(bulk.inputs(0).text(), "a");
}

TEST(Workload, ClassifiesWhereAsked) {
  Options options;
  options.load.task = LoadTask::kClassify;
  const Workload workload = Make(options, {"a"});
  EXPECT_STREQ(workload.method(), "/contextpool.v1.ClassificationService/Classify");
  const auto request = Parse<v1::ClassifyRequest>(workload.Request(0, true));
  EXPECT_EQ(request.inputs(0).text(), "a");
  EXPECT_EQ(request.priority(), v1::PRIORITY_BULK);
}

TEST(Workload, ShufflesBySeedAndLosesNoText) {
  Options options;
  options.load.shuffle = true;
  options.load.batch = 8;
  const std::vector<std::string> texts = {"a", "b", "c", "d", "e", "f", "g", "h"};
  const auto shuffled = TextsOf(Make(options, texts), 0);
  EXPECT_THAT(shuffled, UnorderedElementsAre("a", "b", "c", "d", "e", "f", "g", "h"));
  EXPECT_NE(shuffled, texts);
  EXPECT_EQ(TextsOf(Make(options, texts), 0), shuffled);
}

TEST(Workload, CountsDistinctTexts) {
  EXPECT_EQ(Make({}, {"a", "b", "a"}).distinct_texts(), 2u);
  EXPECT_GT(Make({}, {}).distinct_texts(), 10000u);
}

TEST(Workload, NamesTheLineThatIsNoUtf8) {
  const auto workload = Workload::Make({}, {"fine", "\xff"});
  EXPECT_EQ(workload.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(workload.status().message()), testing::HasSubstr("line 2"));
}

}  // namespace
}  // namespace contextpool::cli::bench
