// Number formats, scores, UTF-8 and statuses: pure functions.
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "contextpool/v1/embedding.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/message.h"
#include "server/rpc/scores.h"
#include "server/rpc/status.h"
#include "server/rpc/vector_encoding.h"

namespace contextpool::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(EncodeVectorTest, HalfFormatsAreLittleEndian) {
  const float values[] = {1.0F, -2.0F};
  v1::Embedding half;
  ASSERT_TRUE(EncodeVector(values, v1::EMBEDDING_ENCODING_FLOAT16, half).ok());
  EXPECT_EQ(half.data(), std::string("\x00\x3C\x00\xC0", 4));
  v1::Embedding brain;
  ASSERT_TRUE(EncodeVector(values, v1::EMBEDDING_ENCODING_BFLOAT16, brain).ok());
  EXPECT_EQ(brain.data(), std::string("\x80\x3F\x00\xC0", 4));
}

TEST(EncodeVectorTest, Float16RefusesWhatDoesNotFit) {
  const float values[] = {1e6F};
  v1::Embedding embedding;
  const absl::Status status = EncodeVector(values, v1::EMBEDDING_ENCODING_FLOAT16, embedding);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("options.encoding"));
}

TEST(EncodeVectorTest, Int8ScalesByTheLargestMagnitude) {
  const float values[] = {0.5F, -1.27F, 0.0F};
  v1::Embedding embedding;
  ASSERT_TRUE(EncodeVector(values, v1::EMBEDDING_ENCODING_INT8, embedding).ok());
  ASSERT_EQ(embedding.scales_size(), 1);
  EXPECT_FLOAT_EQ(embedding.scales(0), 0.01F);
  EXPECT_EQ(embedding.data(), std::string("\x32\x81\x00", 3));
  const float zeros[] = {0, 0};
  v1::Embedding zero;
  ASSERT_TRUE(EncodeVector(zeros, v1::EMBEDDING_ENCODING_INT8, zero).ok());
  EXPECT_EQ(zero.scales(0), 0);
  EXPECT_EQ(zero.data(), std::string(2, '\0'));
}

TEST(EncodeVectorTest, BinaryIsMostSignificantBitFirstAndZeroIsNotSet) {
  const float values[] = {1, -1, 0, 2, 0, 0, 0, 3, 4};
  v1::Embedding embedding;
  ASSERT_TRUE(EncodeVector(values, v1::EMBEDDING_ENCODING_BINARY, embedding).ok());
  EXPECT_EQ(embedding.data(), std::string("\x91\x80", 2));
  EXPECT_EQ(embedding.dimensions(), 9);
}

TEST(ScoresTest, SoftmaxDoesNotOverflow) {
  const float logits[] = {3e38F, 3e38F, -3e38F};
  EXPECT_THAT(Scores(logits, engine::ProblemType::kSingleLabel), ElementsAre(0.5F, 0.5F, 0));
}

TEST(ScoresTest, SigmoidDoesNotOverflowAndIsSymmetric) {
  const float logits[] = {-1e30F, 0, 1e30F, 2, -2};
  const std::vector<float> scores = Scores(logits, engine::ProblemType::kMultiLabel);
  EXPECT_EQ(scores[0], 0);
  EXPECT_EQ(scores[1], 0.5F);
  EXPECT_EQ(scores[2], 1);
  EXPECT_FLOAT_EQ(scores[3], 0.880797F);
  EXPECT_FLOAT_EQ(scores[3] + scores[4], 1);
}

TEST(ScoresTest, RegressionIsTheNumberItself) {
  const float logits[] = {-7.5F};
  EXPECT_THAT(Scores(logits, engine::ProblemType::kRegression), ElementsAre(-7.5F));
}

class FillScoresTest : public testing::Test {
 protected:
  FillScoresTest() {
    model_.name = "m";
    model_.labels = {"a", "b", "c", "d"};
    model_.problem_type = engine::ProblemType::kMultiLabel;
  }

  std::vector<uint32_t> Order(std::span<const float> logits) {
    v1::Classification result;
    FillScores(logits, *SelectLabels(options_, model_), options_, model_, result);
    std::vector<uint32_t> order;
    for (const auto& score : result.scores()) order.push_back(score.index());
    return order;
  }

  engine::ModelInfo model_;
  v1::ClassifyOptions options_;
};

TEST_F(FillScoresTest, TiesKeepTheModelsOrder) {
  const float logits[] = {1, 2, 1, 2};
  EXPECT_THAT(Order(logits), ElementsAre(1, 3, 0, 2));
}

TEST_F(FillScoresTest, ThresholdThenTopK) {
  const float logits[] = {0, 3, 2, -4};
  options_.set_threshold(0.5F);
  EXPECT_THAT(Order(logits), ElementsAre(1, 2, 0));
  options_.set_top_k(2);
  EXPECT_THAT(Order(logits), ElementsAre(1, 2));
}

TEST_F(FillScoresTest, OnlyNamedLabelsAndEachOnce) {
  const float logits[] = {0, 3, 2, -4};
  options_.add_labels("d");
  options_.add_labels("a");
  EXPECT_THAT(Order(logits), ElementsAre(0, 3));
  options_.add_labels("d");
  EXPECT_EQ(SelectLabels(options_, model_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FillScoresTest, RegressionTakesAnyFiniteThreshold) {
  model_.problem_type = engine::ProblemType::kRegression;
  options_.set_threshold(-3);
  const float logits[] = {-2, 3, -4, 5};
  EXPECT_THAT(Order(logits), ElementsAre(3, 1, 0));
}

TEST(Utf8Test, AcceptsEveryScalarAndRefusesTheRest) {
  EXPECT_TRUE(IsValidUtf8(""));
  EXPECT_TRUE(IsValidUtf8(absl::string_view("\0", 1)));
  EXPECT_TRUE(IsValidUtf8("\u00e9\u20ac\U0001F600\U0010FFFF"));
  for (const char* bad : {"\x80", "\xc1\x81", "\xc3", "\xe0\x9f\xbf", "\xed\xa0\x80",
                          "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "a\xffz"}) {
    EXPECT_FALSE(IsValidUtf8(bad)) << bad;
  }
}

TEST(FindInvalidUtf8Test, NestedMapsAndUnknownFieldsDoNotConfuseIt) {
  // Unknown field 15 (group wire types included) before the faulty text.
  const std::string bytes("\x7b\x7c\x12\x03\x0a\x01\xfe", 7);
  EXPECT_EQ(FindInvalidUtf8(bytes, *v1::EmbedRequest::descriptor()), "inputs[0].text");
  EXPECT_EQ(FindInvalidUtf8("\x12\x7f", *v1::EmbedRequest::descriptor()), "");
  // An image may hold any bytes.
  EXPECT_EQ(
      FindInvalidUtf8(std::string("\x12\x03\x12\x01\xfe", 5), *v1::EmbedRequest::descriptor()), "");
}

TEST(StatusTest, LongMessagesAreCutBetweenCharacters) {
  Logger logger(LogFormat::kText, LogLevel::kError, -1);
  std::string text(1999, 'x');
  text += "\u00e9 and more";
  const auto status = ToRpcStatus(absl::NotFoundError(text), "Embed", logger);
  EXPECT_EQ(status.message(), std::string(1999, 'x'));
  EXPECT_EQ(status.code(), 5);
}

TEST(StatusTest, WhatACallerWroteIsEscapedAndCut) {
  EXPECT_EQ(Quoted("a\"b\n"), R"("a\"b\n")");
  EXPECT_EQ(Quoted(std::string(100, 'x')), "\"" + std::string(80, 'x') + "...\"");
}

}  // namespace
}  // namespace contextpool::server
