#include "clients/cli/text_inputs.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kText = InputSource::Kind::kArgument;
constexpr auto kStandardInput = InputSource::Kind::kStandardInput;
constexpr auto kFile = InputSource::Kind::kFile;

std::vector<std::string> FromStdin(const std::string& content) {
  std::istringstream in(content);
  const auto texts = ReadTexts({{kFile, "-"}}, in);
  return texts.ok() ? *texts : std::vector<std::string>{texts.status().ToString()};
}

TEST(ReadTexts, TakesOneTextALine) {
  EXPECT_THAT(FromStdin("a\nb"), ElementsAre("a", "b"));
  EXPECT_THAT(FromStdin("a\nb\n"), ElementsAre("a", "b"));
}

TEST(ReadTexts, KeepsEmptyLines) {
  EXPECT_THAT(FromStdin("\n"), ElementsAre(""));
  EXPECT_THAT(FromStdin("a\n\n\nb\n\n"), ElementsAre("a", "", "", "b", ""));
}

TEST(ReadTexts, DropsTheCarriageReturnOfALineEndOnly) {
  EXPECT_THAT(FromStdin("a\r\n\r\nb\rc\r\r\nd\r"), ElementsAre("a", "", "b\rc\r", "d\r"));
}

TEST(ReadTexts, KeepsZeroBytesAndMalformedText) {
  EXPECT_THAT(FromStdin(std::string("a\0b\n\xFF", 5)), ElementsAre(std::string("a\0b", 3), "\xFF"));
}

TEST(ReadTexts, KeepsTheOrderOfTheSources) {
  const std::string path = ::testing::TempDir() + "contextpool_inputs_test.txt";
  std::ofstream(path) << "file 1\nfile 2\n";
  std::istringstream in("in");
  const auto texts =
      ReadTexts({{kText, "first"}, {kFile, path}, {kStandardInput, "-"}, {kText, "-"}}, in);
  std::filesystem::remove(path);
  ASSERT_TRUE(texts.ok()) << texts.status();
  EXPECT_THAT(*texts, ElementsAre("first", "file 1", "file 2", "in", "-"));
}

TEST(ReadTexts, SaysWhatIsMissing) {
  std::istringstream in;
  EXPECT_EQ(ReadTexts({{kFile, "-"}}, in).status().code(), absl::StatusCode::kInvalidArgument);
  for (const std::string path : {"/nonexistent/x", "/"}) {
    const auto texts = ReadTexts({{kFile, path}}, in);
    EXPECT_EQ(texts.status().code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(texts.status().message()), HasSubstr("cannot read " + path));
  }
}

TEST(TextInputs, RefusesTextThatARequestCannotCarry) {
  TextInputs texts({"a", "\xFF"});
  EXPECT_EQ(*texts.Load(0), "a");
  EXPECT_EQ(texts.Load(1).status(), absl::InvalidArgumentError("the text is not valid UTF-8"));
}

}  // namespace
}  // namespace contextpool::cli
