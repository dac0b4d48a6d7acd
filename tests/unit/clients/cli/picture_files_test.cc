#include "clients/cli/picture_files.h"

#include <filesystem>

#include "clients/cli/text_inputs.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/clients/cli/png.h"
#include "tests/unit/clients/cli/temporary_folder.h"

namespace contextpool::cli {
namespace {

using ::testing::HasSubstr;

class PictureFilesTest : public ::testing::Test {
 protected:
  static v1::Explanation OneCell() {
    v1::Explanation explanation;
    explanation.set_grid_height(1);
    explanation.set_grid_width(1);
    v1::ContextPoolLayer& layer = *explanation.add_layers();
    layer.add_weight(1);
    layer.add_support_size(0.5f);
    return explanation;
  }

  const TemporaryFolder folder_{"picture_files_test"};
};

TEST_F(PictureFilesTest, NumbersPicturesOfSeveralInputs) {
  const TextInputs one({"a"});
  EXPECT_EQ(PictureFiles("my.dir/out.png", one).PathOf(0), "my.dir/out.png");
  const TextInputs many(std::vector<std::string>(12, "a"));
  EXPECT_EQ(PictureFiles("my.dir/out.png", many).PathOf(0), "my.dir/out-0.png");
  EXPECT_EQ(PictureFiles("OUT.1.PNG", many).PathOf(11), "OUT.1-11.PNG");
}

TEST_F(PictureFilesTest, RefusesToReplaceAnInput) {
  const std::string photo = folder_.Write("photo.png", "x");
  const std::string second = folder_.Write("photo-1.png", "x");
  std::filesystem::create_symlink(photo, folder_.Path("link.png"));
  const TextInputs one({photo});
  for (const char* name :
       {"photo.png", "link.png", "../contextpool_picture_files_test/photo.png"}) {
    const absl::Status status = PictureFiles(folder_.Path(name), one).Check();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("would replace the input " + photo));
  }
  EXPECT_TRUE(PictureFiles(folder_.Path("new.png"), one).Check().ok());
  EXPECT_TRUE(PictureFiles(second, one).Check().ok());
  const TextInputs both({second, "elsewhere.png"});
  EXPECT_FALSE(PictureFiles(photo, both).Check().ok());
  const TextInputs others({photo, "elsewhere.png"});
  EXPECT_TRUE(PictureFiles(photo, others).Check().ok());
}

TEST_F(PictureFilesTest, WritesAPicture) {
  const TextInputs one({"a"});
  const std::string image = EncodePng(cv::Mat(2, 2, CV_8UC3, cv::Scalar(9, 9, 9)));
  const PictureFiles files(folder_.Path("out.png"), one);
  const absl::Status written = files.Write(0, image, OneCell());
  ASSERT_TRUE(written.ok()) << written;
  EXPECT_FALSE(DecodePng(TemporaryFolder::Read(folder_.Path("out.png"))).empty());
}

TEST_F(PictureFilesTest, LeavesNoFileWhereItCannotDraw) {
  const TextInputs one({"a"});
  const PictureFiles files(folder_.Path("out.png"), one);
  EXPECT_EQ(files.Write(0, "no image", OneCell()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(folder_.Path("out.png")));
  const std::string image = EncodePng(cv::Mat(2, 2, CV_8UC3));
  EXPECT_EQ(PictureFiles(folder_.Path("no/out.png"), one).Write(0, image, OneCell()).code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace contextpool::cli
