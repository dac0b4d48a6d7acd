#include "clients/cli/seen_image.h"

#include <limits>
#include <opencv2/imgproc.hpp>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/clients/cli/png.h"

namespace contextpool::cli {
namespace {

struct Box {
  float left = 0;
  float top = 0;
  float width = 1;
  float height = 1;
};

v1::Explanation WithBox(const Box& box) {
  v1::Explanation explanation;
  v1::ImageBox& wire = *explanation.mutable_grid_box();
  wire.set_left(box.left);
  wire.set_top(box.top);
  wire.set_width(box.width);
  wire.set_height(box.height);
  return explanation;
}

cv::Mat Seen(const cv::Mat& image, const v1::Explanation& explanation, int height, int width) {
  auto seen = ReadSeenImage(EncodePng(image), explanation, height, width);
  EXPECT_TRUE(seen.ok()) << seen.status();
  if (!seen.ok()) return {};
  EXPECT_EQ(seen->size(), size_t{3} * height * width);
  return cv::Mat(height, width, CV_8UC3, seen->data()).clone();
}

cv::Mat Noise(int height, int width) {
  cv::Mat image(height, width, CV_8UC3);
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp)
  for (auto& value : cv::Mat_<cv::Vec3b>(image)) {
    for (int c = 0; c < 3; ++c) value[c] = static_cast<uint8_t>(random() % 255 + 1);
  }
  return image;
}

double Difference(const cv::Mat& a, const cv::Mat& b) { return cv::norm(a, b, cv::NORM_INF); }

TEST(SeenImage, IsAllOfItWithoutABox) {
  const cv::Mat image = Noise(6, 5);
  const cv::Mat seen = Seen(image, {}, 6, 5);
  EXPECT_EQ(Difference(seen, image), 0);
  EXPECT_EQ(Difference(Seen(image, WithBox({}), 6, 5), image), 0);
  EXPECT_TRUE(SeesAll({}));
  EXPECT_TRUE(SeesAll(WithBox({})));
  for (const Box& box : {Box{.left = 0.1f}, Box{.top = -0.1f}, Box{.width = 2}, Box{.height = 2}}) {
    EXPECT_FALSE(SeesAll(WithBox(box)));
  }
}

TEST(SeenImage, IsThePartInTheBox) {
  const cv::Mat image = Noise(8, 16);
  const cv::Mat seen =
      Seen(image, WithBox({.left = 0.25f, .top = 0.5f, .width = 0.5f, .height = 0.25f}), 2, 8);
  EXPECT_EQ(Difference(seen, image(cv::Rect(4, 4, 8, 2))), 0);
}

TEST(SeenImage, BeginsWithinAPixelWhereTheBoxDoes) {
  const cv::Mat image = Noise(1, 4);
  // From the middle of the first pixel to that of the third.
  const cv::Mat seen = Seen(image, WithBox({.left = 0.125f, .width = 0.5f}), 4, 40);
  for (int x = 0; x < 40; ++x) {
    EXPECT_EQ(seen.at<cv::Vec3b>(2, x), image.at<cv::Vec3b>(0, (x + 10) / 20)) << x;
  }
}

TEST(SeenImage, IsBlackWhereThereIsNoImage) {
  const cv::Mat image = Noise(4, 4);
  cv::Mat expected(24, 24, CV_8UC3, cv::Scalar(0, 0, 0));
  cv::resize(image, expected(cv::Rect(4, 8, 16, 16)), {16, 16}, 0, 0, cv::INTER_NEAREST);
  const v1::Explanation around =
      WithBox({.left = -0.25f, .top = -0.5f, .width = 1.5f, .height = 1.5f});
  EXPECT_EQ(Difference(Seen(image, around, 24, 24), expected), 0);
  for (const Box& beside : {Box{.left = 1}, Box{.left = -1}, Box{.top = 1e6f}, Box{.top = -1}}) {
    EXPECT_EQ(cv::norm(Seen(image, WithBox(beside), 24, 24), cv::NORM_INF), 0);
  }
}

TEST(SeenImage, TurnsTheStoredPictureAsTheReplySays) {
  const cv::Mat stored =
      (cv::Mat_<cv::Vec3b>(2, 3) << cv::Vec3b::all(1), cv::Vec3b::all(2), cv::Vec3b::all(3),
       cv::Vec3b::all(4), cv::Vec3b::all(5), cv::Vec3b::all(6));
  // By Pillow 13.0.0, ImageOps.exif_transpose.
  const std::vector<std::vector<int>> expected = {
      {1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1}, {4, 5, 6, 1, 2, 3},
      {1, 4, 2, 5, 3, 6}, {4, 1, 5, 2, 6, 3}, {6, 3, 5, 2, 4, 1}, {3, 6, 2, 5, 1, 4}};
  for (uint32_t orientation = 1; orientation <= 8; ++orientation) {
    v1::Explanation explanation;
    explanation.set_image_orientation(orientation);
    const int columns = orientation < 5 ? 3 : 2;
    const cv::Mat seen = Seen(stored, explanation, 6 / columns, columns);
    for (int i = 0; i < 6; ++i) {
      EXPECT_EQ(seen.at<cv::Vec3b>(i / columns, i % columns)[0], expected[orientation - 1][i])
          << orientation << " " << i;
    }
  }
}

TEST(SeenImage, ShrinkingAverages) {
  cv::Mat image(64, 64, CV_8UC3);
  for (int i = 0; i < 64 * 64; ++i) {
    image.at<cv::Vec3b>(i / 64, i % 64) = cv::Vec3b::all((i / 64 + i) % 2 == 0 ? 0 : 200);
  }
  const cv::Mat grey(8, 8, CV_8UC3, cv::Scalar::all(100));
  EXPECT_LE(Difference(Seen(image, {}, 8, 8), grey), 1);
  const v1::Explanation middle =
      WithBox({.left = 0.25f, .top = 0.25f, .width = 0.5f, .height = 0.5f});
  EXPECT_LE(Difference(Seen(image, middle, 8, 8), grey), 1);
}

TEST(SeenImage, EdgesAreAsBrightAsTheRest) {
  const cv::Mat image(10, 10, CV_8UC3, cv::Scalar::all(90));
  for (const int size : {7, 10, 25, 100}) {
    const cv::Mat plain(size, size, CV_8UC3, cv::Scalar::all(90));
    EXPECT_EQ(Difference(Seen(image, {}, size, size), plain), 0) << size;
    EXPECT_EQ(Difference(Seen(image, WithBox({.left = 0.3f, .width = 0.7f}), size, size), plain), 0)
        << size;
  }
}

TEST(SeenImage, TakesLongImagesAndTinyBoxes) {
  cv::Mat image(1, 60000, CV_8UC3, cv::Scalar::all(50));
  image.colRange(30000, 30001) = cv::Scalar::all(250);
  const cv::Mat pixel = Seen(image, WithBox({.left = 0.5f, .width = 1.0f / 60000}), 30, 30);
  EXPECT_EQ(pixel.at<cv::Vec3b>(15, 15), cv::Vec3b::all(250));
  EXPECT_EQ(Seen(image, {}, 30, 30).at<cv::Vec3b>(15, 3), cv::Vec3b::all(50));
  constexpr float kLeast = std::numeric_limits<float>::denorm_min();
  EXPECT_FALSE(Seen(image, WithBox({.width = kLeast, .height = kLeast}), 30, 30).empty());
  EXPECT_FALSE(Seen(image, WithBox({-5e5f, -5e5f, 1e6f, 1e6f}), 30, 30).empty());
}

TEST(SeenImage, RefusesWhatIsNoBox) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::string file = EncodePng(Noise(2, 2));
  for (const float wrong : {kInfinity, -kInfinity, kNan, 1e7f, -1e7f}) {
    for (const Box& box : {Box{.left = wrong}, Box{.top = wrong}, Box{.width = wrong},
                           Box{.height = wrong}, Box{.width = 0}, Box{.height = -1}}) {
      EXPECT_EQ(ReadSeenImage(file, WithBox(box), 4, 4).status().code(),
                absl::StatusCode::kInternal);
    }
  }
  EXPECT_EQ(ReadSeenImage("no image", {}, 4, 4).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace contextpool::cli
