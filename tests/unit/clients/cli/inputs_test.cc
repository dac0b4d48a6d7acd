#include "clients/cli/inputs.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kText = InputSource::Kind::kText;
constexpr auto kFile = InputSource::Kind::kFile;

std::vector<std::string> FromStdin(const std::string& content) {
  std::istringstream in(content);
  const auto texts = ReadInputs({{kFile, "-"}}, in);
  return texts.ok() ? *texts : std::vector<std::string>{texts.status().ToString()};
}

TEST(ReadInputs, TakesOneTextALine) {
  EXPECT_THAT(FromStdin("a\nb"), ElementsAre("a", "b"));
  EXPECT_THAT(FromStdin("a\nb\n"), ElementsAre("a", "b"));
}

TEST(ReadInputs, KeepsEmptyLines) {
  EXPECT_THAT(FromStdin("\n"), ElementsAre(""));
  EXPECT_THAT(FromStdin("a\n\n\nb\n\n"), ElementsAre("a", "", "", "b", ""));
}

TEST(ReadInputs, DropsTheCarriageReturnOfALineEndOnly) {
  EXPECT_THAT(FromStdin("a\r\n\r\nb\rc\r\r\nd\r"), ElementsAre("a", "", "b\rc\r", "d\r"));
}

TEST(ReadInputs, KeepsZeroBytesAndMalformedText) {
  EXPECT_THAT(FromStdin(std::string("a\0b\n\xFF", 5)), ElementsAre(std::string("a\0b", 3), "\xFF"));
}

TEST(ReadInputs, KeepsTheOrderOfTheSources) {
  const std::string path = ::testing::TempDir() + "contextpool_inputs_test.txt";
  std::ofstream(path) << "file 1\nfile 2\n";
  std::istringstream in("in");
  const auto texts = ReadInputs({{kText, "first"}, {kFile, path}, {kFile, "-"}, {kText, "-"}}, in);
  std::filesystem::remove(path);
  ASSERT_TRUE(texts.ok()) << texts.status();
  EXPECT_THAT(*texts, ElementsAre("first", "file 1", "file 2", "in", "-"));
}

TEST(ReadInputs, SaysWhatIsMissing) {
  std::istringstream in;
  EXPECT_THAT(std::string(ReadInputs({}, in).status().message()), HasSubstr("--input FILE"));
  EXPECT_EQ(ReadInputs({{kFile, "-"}}, in).status().code(), absl::StatusCode::kInvalidArgument);
  for (const std::string path : {"/nonexistent/x", "/"}) {
    const auto texts = ReadInputs({{kFile, path}}, in);
    EXPECT_EQ(texts.status().code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(texts.status().message()), HasSubstr("cannot read " + path));
  }
}

std::vector<std::pair<size_t, size_t>> Plan(const std::vector<std::string>& texts) {
  std::vector<std::pair<size_t, size_t>> plan;
  for (const Chunk& chunk : PlanRequests(texts, {.max_inputs = 3, .max_bytes = 10})) {
    plan.emplace_back(chunk.first, chunk.count);
  }
  return plan;
}

TEST(PlanRequests, CutsByInputs) {
  EXPECT_THAT(Plan({"", "", "", "", "", "", ""}),
              ElementsAre(std::pair(0, 3), std::pair(3, 3), std::pair(6, 1)));
}

TEST(PlanRequests, CutsByBytesAndSendsALargeTextAlone) {
  EXPECT_THAT(Plan({"12345", "12345", "1", "12345678901234", "1", "2"}),
              ElementsAre(std::pair(0, 2), std::pair(2, 1), std::pair(3, 1), std::pair(4, 2)));
}

TEST(PlanRequests, SetsTextsApartThatCannotBeSent) {
  const auto chunks = PlanRequests({"a", "\xFF", "\xFE", "b"}, {});
  ASSERT_EQ(chunks.size(), 4u);
  EXPECT_TRUE(chunks[0].valid_utf8);
  EXPECT_FALSE(chunks[1].valid_utf8);
  EXPECT_FALSE(chunks[2].valid_utf8);
  EXPECT_TRUE(chunks[3].valid_utf8);
}

}  // namespace
}  // namespace contextpool::cli
