#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "clients/cli/run.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/clients/cli/fake_server.h"
#include "tests/unit/clients/cli/png.h"
#include "tests/unit/clients/cli/temporary_folder.h"

namespace contextpool::cli {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class RunImagesTest : public RunTest {
 protected:
  // `count` files "000", "001" and so on, the i-th of i bytes.
  std::vector<std::string> WriteMany(int count) {
    std::vector<std::string> paths;
    for (int i = 0; i < count; ++i) {
      const std::string number = std::to_string(1000 + i).substr(1);
      paths.push_back(folder_.Write("many/" + number + ".png", std::string(i, 'x')));
    }
    return paths;
  }

  std::string WriteImage(const std::string& name) {
    return folder_.Write(name, EncodePng(cv::Mat(4, 4, CV_8UC3, cv::Scalar(0, 128, 255))));
  }

  const TemporaryFolder folder_{"run_images_test"};
};

TEST_F(RunImagesTest, WordsAreFilesForAModelOfImages) {
  const std::string bytes("\xFF\0\x89", 3);
  const std::string path = folder_.Write("a b \xFF.png", bytes);
  EXPECT_EQ(RunWith({"embed", "-m", "digits", "--json", path}), kExitOk) << err_;
  ASSERT_EQ(embedding_.last.inputs_size(), 1);
  EXPECT_TRUE(embedding_.last.inputs(0).has_image());
  EXPECT_EQ(embedding_.last.inputs(0).image(), bytes);
  EXPECT_EQ(out_, "{\"index\":0,\"file\":\"" + folder_.Path("a b \uFFFD.png") +
                      "\",\"embedding\":[0.1,3.0,1e-08],\"tokens\":5,\"truncated\":false}\n");
  EXPECT_EQ(RunWith({"classify", "-m", "digits", path}), kExitOk) << err_;
  EXPECT_EQ(classification_.last.inputs(0).image(), bytes);
  EXPECT_THAT(out_, HasSubstr("a b \uFFFD.png  (0 tokens)\n   positive     0.9700\n"));
}

TEST_F(RunImagesTest, WordsStayTextsForAModelOfTextBeside) {
  const std::string path = folder_.Write("a.png", "x");
  EXPECT_EQ(RunWith({"embed", "-m", "mini", path}), kExitOk) << err_;
  EXPECT_EQ(embedding_.last.inputs(0).text(), path);
  // Without a name the model that offers the task answers.
  EXPECT_EQ(RunWith({"embed", path}), kExitOk) << err_;
  EXPECT_EQ(embedding_.last.inputs(0).text(), path);
  models_.text_tasks = {v1::TASK_EMBED};
  EXPECT_EQ(RunWith({"classify", path}), kExitOk) << err_;
  EXPECT_EQ(classification_.last.inputs(0).image(), "x");
  models_.text_tasks = {};
  EXPECT_EQ(RunWith({"embed", path}), kExitOk) << err_;
  EXPECT_EQ(embedding_.last.inputs(0).image(), "x");
}

TEST_F(RunImagesTest, AServerThatDoesNotSayGetsTexts) {
  EXPECT_EQ(RunWith({"embed", "-m", "missing", "a.png"}), kExitFailed);
  EXPECT_EQ(err_,
            "contextpool: input 0: NOT_FOUND: model 'missing' is not in the repository; "
            "contextpool models lists what is served\n");
  server_->Shutdown();
  EXPECT_EQ(RunWith({"embed", "-m", "digits", "a.png", "b.png"}), kExitFailed);
  EXPECT_THAT(err_, StartsWith("contextpool: input 0 to 1: UNAVAILABLE: cannot reach 127.0.0.1:"));
}

TEST_F(RunImagesTest, AFileThatCannotBeReadFailsAlone) {
  const std::string a = folder_.Write("a.png", "1");
  const std::string bad = folder_.Write("bad.png", "bad");
  const std::string none = folder_.Path("none.png");
  EXPECT_EQ(RunWith({"embed", "-m", "digits", "--json", none, a, none, bad, a}), kExitFailed);
  EXPECT_EQ(embedding_.calls, 1);
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(lines[i]["index"], i);
  const json error = {{"code", "NOT_FOUND"},
                      {"message", "cannot read the file: No such file or directory"}};
  EXPECT_EQ(lines[0]["error"], error);
  EXPECT_EQ(lines[0]["file"], none);
  EXPECT_EQ(lines[1]["embedding"][1], 1);
  EXPECT_EQ(lines[2]["error"], error);
  EXPECT_EQ(lines[3]["error"]["message"], "inputs[3].image: not an image");
  EXPECT_EQ(lines[4]["embedding"][1], 1);
  EXPECT_EQ(RunWith({"embed", "-m", "digits", bad}), kExitFailed);
  EXPECT_EQ(err_, "contextpool: input 0 (" + bad +
                      "): INVALID_ARGUMENT: inputs[0].image: not an image\n");
}

TEST_F(RunImagesTest, NothingIsSentWhereNoFileCanBeRead) {
  EXPECT_EQ(RunWith({"embed", "-m", "digits", folder_.Path("x"), folder_.Path("y")}), kExitFailed);
  EXPECT_EQ(embedding_.calls, 0);
  EXPECT_THAT(err_, HasSubstr("contextpool: input 1 (" + folder_.Path("y") + "): NOT_FOUND: "));
}

TEST_F(RunImagesTest, AFailedRequestSparesTheReasonsOfItsOwnFiles) {
  const std::string a = folder_.Write("a.png", "1");
  const std::string none = folder_.Path("none.png");
  server_->Shutdown();
  models_.text_tasks = {};
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(&models_);
  server_ = builder.BuildAndStart();
  EXPECT_EQ(RunWith({"embed", a, a, none, a}), kExitFailed);
  EXPECT_THAT(err_, StartsWith("contextpool: input 0 to 1: UNIMPLEMENTED: "));
  EXPECT_THAT(err_, HasSubstr("\ncontextpool: input 2 (" + none + "): NOT_FOUND: "));
  EXPECT_THAT(err_, HasSubstr("\ncontextpool: input 3 (" + a + "): UNIMPLEMENTED: "));
}

TEST_F(RunImagesTest, FoldersPatternsListsAndTheStandardInputAreInputs) {
  folder_.Write("d/b.png", "22");
  folder_.Write("d/a.JPG", "1");
  folder_.Write("p/x 1.webp", "333");
  const std::string list = folder_.Write("list", folder_.Path("d/b.png") + "\n");
  EXPECT_EQ(RunWith({"embed", "-m", "digits", "--json", folder_.Path("d"), folder_.Path("p/*.webp"),
                     "--input", list, "-"},
                    "55555"),
            kExitOk)
      << err_;
  std::vector<float> sizes;
  for (const json& line : Lines()) sizes.push_back(line["embedding"][1]);
  EXPECT_THAT(sizes, ElementsAre(1, 2, 3, 2, 5));
  EXPECT_EQ(Lines()[4]["file"], "-");
}

TEST_F(RunImagesTest, AFolderOrPatternThatMeansNothingExitsWith2) {
  EXPECT_EQ(RunWith({"embed", "-m", "digits", folder_.Path("")}), kExitUsage);
  EXPECT_EQ(RunWith({"embed", "-m", "digits", folder_.Path("*.png")}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("no file matches"));
  EXPECT_EQ(embedding_.calls, 0);
}

TEST_F(RunImagesTest, ManyFilesGoOutAsSeveralRequestsInOrder) {
  WriteMany(100);
  EXPECT_EQ(RunWith({"embed", "-m", "digits", "--json", folder_.Path("many")}), kExitOk) << err_;
  EXPECT_THAT(embedding_.InputCounts(), ElementsAre(4, 32, 32, 32));
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 100u);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(lines[i]["index"], i);
    ASSERT_EQ(lines[i]["embedding"][1], i);
  }
}

TEST_F(RunImagesTest, LargeFilesGoOutAlone) {
  const std::string large = folder_.Write("large", std::string(1'500'000, 'x'));
  const std::string small = folder_.Write("small", "x");
  EXPECT_EQ(RunWith({"embed", "-m", "digits", large, large, small, small}), kExitOk) << err_;
  EXPECT_THAT(embedding_.InputCounts(), ElementsAre(1, 3));
}

TEST_F(RunImagesTest, AFileLargerThanAMessageIsNotSent) {
  const std::string path = folder_.Write("huge.png", "");
  std::filesystem::resize_file(path, 1 << 30);
  EXPECT_EQ(RunWith({"embed", "-m", "digits", path}), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("INVALID_ARGUMENT: the file is larger than a message may be"));
  EXPECT_EQ(embedding_.calls, 0);
}

TEST_F(RunImagesTest, VectorsAreSavedAndComparedAsThoseOfTexts) {
  const std::string npy = folder_.Path("o.npy");
  const std::string a = folder_.Write("a.png", "1");
  const std::string none = folder_.Path("none.png");
  EXPECT_EQ(RunWith({"embed", "-m", "digits", "-o", npy, "--similarity", a, none, a}), kExitFailed);
  EXPECT_THAT(out_, HasSubstr("a.png   1.000      -  1.000\n"));
  EXPECT_THAT(out_,
              EndsWith("wrote float32 [3, 3] to " + npy + "; 1 rows of failed inputs are NaN\n"));
  EXPECT_EQ(TemporaryFolder::Read(npy).size(), 128u + 36u);
}

TEST_F(RunImagesTest, ExplainPrintsATable) {
  const std::string path = folder_.Write("a.png", "x");
  EXPECT_EQ(RunWith({"classify", "-m", "digits", "--explain", path}), kExitOk) << err_;
  EXPECT_THAT(out_, EndsWith(R"(
   LAYER  WEIGHT min  mean  max  SUPPORT SIZE min  mean  max
       3         0.1  0.55    1                 0   0.5    1

   grid of 2 x 1 tokens, support sizes in cells; --explain=out.png draws it
)"));
  EXPECT_EQ(RunWith({"embed", "-m", "digits", "--explain", "--json", path}), kExitOk) << err_;
  EXPECT_THAT(
      out_,
      EndsWith(R"("explanation":{"grid_height":1,"grid_width":2,"grid_box":{"left":0.25,)"
               R"("top":0.0,"width":0.5,"height":1.0},"image_orientation":1,"layers":[{"layer":3,)"
               R"("weight":[0.0,0.1,1.0],"support_size":[0.0,1.0,0.0]}]}})"
               "\n"));
}

TEST_F(RunImagesTest, ExplainDrawsAFileForEachImage) {
  const std::string a = WriteImage("a.png");
  const std::string picture = folder_.Path("out.png");
  EXPECT_EQ(RunWith({"classify", "-m", "digits", "--explain=" + picture, a}), kExitOk) << err_;
  EXPECT_THAT(out_, EndsWith("   wrote " + picture + "\n"));
  EXPECT_THAT(out_, Not(HasSubstr("LAYER")));
  EXPECT_FALSE(DecodePng(TemporaryFolder::Read(picture)).empty());

  EXPECT_EQ(RunWith({"embed", "-m", "digits", "--explain=" + picture, "--json", a, "-", a},
                    TemporaryFolder::Read(a)),
            kExitOk)
      << err_;
  for (const char* name : {"out-0.png", "out-1.png", "out-2.png"}) {
    EXPECT_FALSE(DecodePng(TemporaryFolder::Read(folder_.Path(name))).empty()) << name;
  }
}

TEST_F(RunImagesTest, APictureThatCannotBeDrawnFails) {
  const std::string a = folder_.Write("a.png", "no image after all");
  EXPECT_EQ(RunWith({"classify", "-m", "digits", "--explain=" + folder_.Path("o.png"), a}),
            kExitFailed);
  EXPECT_THAT(out_, HasSubstr("positive"));
  EXPECT_EQ(err_, "contextpool: input 0: no picture: the image cannot be decoded\n");
}

TEST_F(RunImagesTest, ExplainRefusesAFileWhereItCannotDrawThere) {
  const std::string a = WriteImage("a.png");
  EXPECT_EQ(RunWith({"embed", "-m", "mini", "--explain=out.png", "x"}), kExitUsage);
  EXPECT_EQ(err_,
            "contextpool: --explain=FILE draws over images, and the model reads text: leave out "
            "=FILE\n");
  EXPECT_EQ(RunWith({"embed", "-m", "digits", "--explain=" + a, a}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("would replace the input"));
  EXPECT_EQ(embedding_.calls, 0);
}

TEST_F(RunImagesTest, ProgressIsShownWhereNothingElseIs) {
  WriteMany(40);
  const std::vector<std::string> args = {"embed", "-m", "digits", folder_.Path("many")};
  EXPECT_EQ(RunWith(args, "", {}, true), kExitOk);
  EXPECT_EQ(err_, "\r\x1B[K0 of 40 inputs\r\x1B[K\r\x1B[K32 of 40 inputs\r\x1B[K");
  EXPECT_EQ(RunWith(args, "", {.is_tty = true}, true), kExitOk);
  EXPECT_EQ(err_, "");
  EXPECT_EQ(RunWith(args), kExitOk);
  EXPECT_EQ(err_, "");
  std::vector<std::string> saved = args;
  saved.insert(saved.end(), {"-o", folder_.Path("o.npy")});
  EXPECT_EQ(RunWith(saved, "", {.is_tty = true}, true), kExitOk);
  EXPECT_THAT(err_, HasSubstr("32 of 40 inputs"));
  EXPECT_EQ(RunWith({"embed", "-m", "digits", folder_.Path("many/001.png")}, "", {}, true),
            kExitOk);
  EXPECT_EQ(err_, "");
}

}  // namespace
}  // namespace contextpool::cli
