#include "engine/preprocess/normalizer.h"

#include <string>

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using Step = NormalizerStep;

std::string Normalized(const std::vector<Step>& steps, absl::string_view text) {
  Normalizer::Scratch scratch;
  return std::string(Normalizer(steps).Normalize(text, scratch));
}

TEST(Normalizer, WithoutStepsReturnsTheTextItself) {
  const std::string text = "\u00c9\t";
  Normalizer::Scratch scratch;
  EXPECT_EQ(Normalizer({}).Normalize(text, scratch).data(), text.data());
}

TEST(Normalizer, CleaningDropsControlsAndUnifiesWhitespace) {
  EXPECT_EQ(
      Normalized({Step::kCleanText}, absl::string_view("a\0b\tc\r\nd\u200d\ufffd\u3000e", 18)),
      "ab c  d e");
}

TEST(Normalizer, ChineseCharactersGetSpaces) {
  EXPECT_EQ(Normalized({Step::kSpaceChinese}, "a\u4e2d\u6587b"), "a \u4e2d  \u6587 b");
}

TEST(Normalizer, StrippingAccentsDecomposesFirst) {
  EXPECT_EQ(Normalized({Step::kNfd, Step::kStripNonspacing}, "\u00c9e\u0301\u1ea5"), "Eea");
}

TEST(Normalizer, DecomposesHangul) {
  EXPECT_EQ(Normalized({Step::kNfd}, "\uac00\uac01"), "\u1100\u1161\u1100\u1161\u11a8");
}

TEST(Normalizer, LowercaseKnowsNoContext) {
  EXPECT_EQ(Normalized({Step::kLowercase}, "\u039f\u03a3 \u0130X"), "\u03bf\u03c3 i\u0307x");
}

TEST(Normalizer, OrdersMarksByCombiningClass) {
  // Classes: U+0301 230, U+0327 202, U+0345 240, U+0334 1.
  EXPECT_EQ(Normalized({Step::kNfd}, "a\u0345\u0301\u0327\u0334b\u0301"),
            "a\u0334\u0327\u0301\u0345b\u0301");
  EXPECT_EQ(Normalized({Step::kNfd}, "\u0301\u0300"), "\u0301\u0300") << "equal classes stay";
}

TEST(Normalizer, CharactersDroppedBeforeDecompositionDoNotSeparateMarks) {
  EXPECT_EQ(Normalized({Step::kCleanText, Step::kNfd}, "a\u0301\u200d\u0327"), "a\u0327\u0301");
}

TEST(Normalizer, AMarkOfClassZeroSeparatesMarksEvenWhenItIsStripped) {
  // U+302E and U+1D165 are spacing, so stripping keeps them; U+034F is non-spacing of class 0.
  const std::vector<Step> steps = {Step::kNfd, Step::kStripNonspacing};
  EXPECT_EQ(Normalized(steps, "a\u302e\U0001d165"), "a\U0001d165\u302e");
  EXPECT_EQ(Normalized(steps, "a\u302e\u034f\U0001d165"), "a\u302e\U0001d165");
}

TEST(Normalizer, ReordersLongRunsOfMarks) {
  std::string text, expected;
  for (int i = 0; i < 50000; ++i) text += "\u0345\u0334";
  for (int i = 0; i < 50000; ++i) expected += "\u0334";
  for (int i = 0; i < 50000; ++i) expected += "\u0345";
  EXPECT_EQ(Normalized({Step::kNfd}, text), expected);
}

TEST(Normalizer, ScratchIsReusableAndShrinks) {
  const Normalizer normalizer({Step::kLowercase});
  Normalizer::Scratch scratch;
  normalizer.Normalize(std::string(1 << 20, 'A'), scratch);
  EXPECT_GE(scratch.capacity, 1u << 20);
  scratch.ShrinkTo(1 << 16);
  EXPECT_EQ(scratch.capacity, 0u);
  EXPECT_EQ(normalizer.Normalize("AB", scratch), "ab");
}

}  // namespace
}  // namespace contextpool::engine
