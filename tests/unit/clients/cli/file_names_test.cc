#include "clients/cli/file_names.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/clients/cli/temporary_folder.h"

namespace contextpool::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kArgument = InputSource::Kind::kArgument;
constexpr auto kStandardInput = InputSource::Kind::kStandardInput;
constexpr auto kFile = InputSource::Kind::kFile;

class NameFilesTest : public ::testing::Test {
 protected:
  // The names, or one error.
  std::vector<std::string> Names(const std::vector<InputSource>& sources,
                                 const std::string& input = "") {
    std::istringstream in(input);
    const auto names = NameFiles(sources, in);
    return names.ok() ? *names : std::vector<std::string>{names.status().ToString()};
  }
  std::vector<std::string> Names(const std::string& word) { return Names({{kArgument, word}}); }

  const TemporaryFolder folder_{"file_names_test"};
};

TEST_F(NameFilesTest, AWordIsAFileWhetherItIsThereOrNot) {
  EXPECT_THAT(Names({{kArgument, "no such.png"}, {kArgument, ""}}), ElementsAre("no such.png", ""));
}

TEST_F(NameFilesTest, AFolderMeansItsImagesByName) {
  for (const char* name : {"b.PNG", "a b.jpg", "c.JpEg", "d.webp", "e.gif", "f.txt", "png",
                           "sub/g.png", "z.png/h.png"}) {
    folder_.Write(name, "");
  }
  EXPECT_THAT(Names(folder_.Path("")), ElementsAre(folder_.Path("a b.jpg"), folder_.Path("b.PNG"),
                                                   folder_.Path("c.JpEg"), folder_.Path("d.webp")));
}

TEST_F(NameFilesTest, AFolderWithoutImagesIsAnError) {
  folder_.Write("a.txt", "");
  EXPECT_THAT(
      Names(folder_.Path("")),
      ElementsAre("NOT_FOUND: no *.jpg, *.jpeg, *.png or *.webp file in " + folder_.Path("")));
}

TEST_F(NameFilesTest, APatternMeansWhatMatches) {
  for (const char* name : {"b 1.png", "a2.png", "c.txt", "sub.png/d.jpg"}) folder_.Write(name, "");
  EXPECT_THAT(
      Names(folder_.Path("*.png")),
      ElementsAre(folder_.Path("a2.png"), folder_.Path("b 1.png"), folder_.Path("sub.png/d.jpg")));
  EXPECT_THAT(Names(folder_.Path("[ab]?*.png")),
              ElementsAre(folder_.Path("a2.png"), folder_.Path("b 1.png")));
}

TEST_F(NameFilesTest, APatternWithoutAMatchIsAnError) {
  EXPECT_THAT(Names(folder_.Path("*.png")),
              ElementsAre("NOT_FOUND: no file matches '" + folder_.Path("*.png") + "'"));
}

TEST_F(NameFilesTest, AFileWithTheNameOfAPatternIsThatFile) {
  folder_.Write("[1].png", "");
  folder_.Write("1.png", "");
  EXPECT_THAT(Names(folder_.Path("[1].png")), ElementsAre(folder_.Path("[1].png")));
}

TEST_F(NameFilesTest, AnInputFileHoldsNamesAsTheyAre) {
  folder_.Write("a.png", "");
  const std::string list =
      folder_.Write("list", " a b.png\r\n*.png\n\n" + folder_.Path("") + "\n-\n");
  EXPECT_THAT(Names({{kFile, list}}),
              ElementsAre(" a b.png", "*.png", "", folder_.Path(""), "./-"));
  EXPECT_THAT(Names({{kFile, "-"}}, "x\n-\n"), ElementsAre("x", "./-"));
}

TEST_F(NameFilesTest, OnlyTheWordMeansTheStandardInput) {
  EXPECT_THAT(Names({{kStandardInput, "-"}, {kArgument, "-"}}), ElementsAre("-", "./-"));
}

TEST_F(NameFilesTest, SaysWhatIsMissing) {
  EXPECT_THAT(Names({{kFile, "-"}}), ElementsAre(HasSubstr("INVALID_ARGUMENT: no input")));
  EXPECT_THAT(Names({{kFile, folder_.Path("no")}}),
              ElementsAre(HasSubstr("NOT_FOUND: cannot read " + folder_.Path("no"))));
}

}  // namespace
}  // namespace contextpool::cli
