#include "clients/cli/utf8.h"

#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

TEST(Utf8, AcceptsTheFirstAndLastCharacterOfEachLength) {
  EXPECT_TRUE(IsValidUtf8(""));
  EXPECT_TRUE(IsValidUtf8(absl::string_view("\0\x7F", 2)));
  EXPECT_TRUE(IsValidUtf8("\xC2\x80\xDF\xBF"));
  EXPECT_TRUE(IsValidUtf8("\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF"));
  EXPECT_TRUE(IsValidUtf8("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"));
}

TEST(Utf8, RefusesMalformedText) {
  for (const char* text : {"\x80", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x20", "\xE0\x9F\xBF",
                           "\xED\xA0\x80", "\xED\xBF\xBF", "\xE2\x82", "\xF0\x8F\xBF\xBF",
                           "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "ok\xFE"}) {
    EXPECT_FALSE(IsValidUtf8(text)) << ::testing::PrintToString(text);
  }
}

TEST(Utf8, MeasuresColumnsNotBytes) {
  EXPECT_EQ(DisplayWidth("caf\u00E9"), 4u);
  EXPECT_EQ(DisplayWidth("cafe\u0301"), 4u);
  EXPECT_EQ(DisplayWidth("\u65E5\u672C"), 4u);
  EXPECT_EQ(PadRight("\u65E5", 4), "\u65E5  ");
  EXPECT_EQ(PadLeft("\u00E9", 3), "  \u00E9");
  EXPECT_EQ(PadLeft("long", 2), "long");
}

TEST(Utf8, CutsToTheColumnsWithAnEllipsis) {
  EXPECT_EQ(Printable("abcdef", 6), "abcdef");
  EXPECT_EQ(Printable("abcdef", 5), "abcd\u2026");
  EXPECT_EQ(Printable("\u65E5\u672C\u8A9E", 5), "\u65E5\u672C\u2026");
  EXPECT_EQ(Printable("\u65E5\u672C\u8A9E", 4), "\u65E5\u2026");
  EXPECT_EQ(Printable("abc", 1), "\u2026");
  EXPECT_EQ(Printable("abc", 0), "");
}

TEST(Utf8, CutsTheStartWhereTheEndCounts) {
  EXPECT_EQ(PrintableEnd("abcdef", 6), "abcdef");
  EXPECT_EQ(PrintableEnd("abcdef", 5), "\u2026cdef");
  EXPECT_EQ(PrintableEnd("\u65E5\u672C\u8A9E", 5), "\u2026\u672C\u8A9E");
  EXPECT_EQ(PrintableEnd("\u65E5\u672C\u8A9E", 4), "\u2026\u8A9E");
  EXPECT_EQ(PrintableEnd("a\x1B\nb\xFF", 4), "\u2026 b\uFFFD");
  EXPECT_EQ(PrintableEnd("abc", 1), "\u2026");
  EXPECT_EQ(PrintableEnd("abc", 0), "");
}

TEST(Utf8, LetsNoEscapeSequenceThrough) {
  EXPECT_EQ(Printable("a\x1B[31mb", 80), "a\uFFFD[31mb");
  EXPECT_EQ(Printable("a\tb\nc", 80), "a b c");
  EXPECT_EQ(Printable("\xC2\x9B"
                      "31m",
                      80),
            "\uFFFD"
            "31m");
  EXPECT_EQ(Printable("bad\xFFtail", 80), "bad\uFFFDtail");
}

}  // namespace
}  // namespace contextpool::cli
