#include "engine/preprocess/unicode.h"

#include <string>

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

TEST(Unicode, EveryScalarValueSurvivesEncodingAndDecoding) {
  for (char32_t c = 0; c < kCodePoints; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string text;
    AppendUtf8(c, text);
    ASSERT_EQ(FirstInvalidUtf8(text), text.size()) << static_cast<uint32_t>(c);
    ASSERT_TRUE(DecodeUtf8(text.data()).value == c);
    ASSERT_EQ(DecodeUtf8(text.data()).size_bytes, text.size());
    ASSERT_TRUE(DecodeLastUtf8("x" + text).value == c);
  }
}

TEST(Unicode, NamesTheFirstMalformedByte) {
  EXPECT_EQ(FirstInvalidUtf8("0123456789\xff"), 10u);
  EXPECT_EQ(FirstInvalidUtf8("a\xC0\x80"), 1u) << "overlong";
  EXPECT_EQ(FirstInvalidUtf8("\xE0\x9F\xBF"), 0u) << "overlong";
  EXPECT_EQ(FirstInvalidUtf8("\xED\xA0\x80"), 0u) << "surrogate";
  EXPECT_EQ(FirstInvalidUtf8("\xF4\x90\x80\x80"), 0u) << "above U+10FFFF";
  EXPECT_EQ(FirstInvalidUtf8("\xF5\x80\x80\x80"), 0u);
  EXPECT_EQ(FirstInvalidUtf8("ab\xE2\x82"), 2u) << "cut short";
  EXPECT_EQ(FirstInvalidUtf8("\x80"), 0u) << "no lead byte";
  EXPECT_EQ(FirstInvalidUtf8("\xE2\x82\x41"), 0u);
  EXPECT_EQ(FirstInvalidUtf8(""), 0u);
}

TEST(Unicode, FlagsFollowTheReferenceWhereLibrariesDiffer) {
  const auto& flags = CodePointFlags();
  EXPECT_TRUE(flags[0xFFFD] & kCleanRemoves);
  EXPECT_TRUE(flags[0x200D] & kCleanRemoves) << "format characters";
  EXPECT_FALSE(flags[U'\n'] & kCleanRemoves);
  EXPECT_TRUE(flags[U'$'] & kPunctuation) << "ASCII symbols count";
  EXPECT_FALSE(flags[0x20AC] & kPunctuation) << "other symbols do not";
  EXPECT_TRUE(flags[0x3000] & kWhitespace);
  EXPECT_TRUE(flags[U'_'] & kWordCharacter);
}

}  // namespace
}  // namespace contextpool::engine
