#include "clients/cli/grid_picture.h"

#include <cmath>
#include <limits>
#include <opencv2/imgproc.hpp>

#include "gtest/gtest.h"
#include "tests/unit/clients/cli/png.h"

namespace contextpool::cli {
namespace {

struct Token {
  float weight = 0;
  float support_size = 0;
};

v1::Explanation OnGrid(uint32_t rows, uint32_t columns,
                       const std::vector<std::vector<Token>>& layers) {
  v1::Explanation explanation;
  explanation.set_grid_height(rows);
  explanation.set_grid_width(columns);
  for (const std::vector<Token>& tokens : layers) {
    v1::ContextPoolLayer& layer = *explanation.add_layers();
    for (const Token& token : tokens) {
      layer.add_weight(token.weight);
      layer.add_support_size(token.support_size);
    }
  }
  return explanation;
}

cv::Mat Draw(const std::string& image, const v1::Explanation& explanation) {
  const auto picture = DrawPicture(image, explanation);
  EXPECT_TRUE(picture.ok()) << picture.status();
  return picture.ok() ? DecodePng(*picture) : cv::Mat();
}

cv::Mat Black(int height, int width) { return {height, width, CV_8UC3, cv::Scalar(0, 0, 0)}; }

// The rectangle around all pixels where two pictures differ.
cv::Rect Difference(const cv::Mat& a, const cv::Mat& b) {
  cv::Mat difference, any;
  cv::absdiff(a, b, difference);
  cv::cvtColor(difference, any, cv::COLOR_BGR2GRAY);
  return cv::boundingRect(any > 0);
}

// Where what is written above and below the panels does not matter.
cv::Mat Panels(const cv::Mat& picture) { return picture(cv::Rect(24, 46, picture.cols - 48, 336)); }

constexpr int kCell = 84;                          // of a grid of 4 x 4
constexpr int kLayer = 360;                        // where the second panel begins, from the first
const std::string kFour = EncodePng(Black(4, 4));  // NOLINT(cert-err58-cpp)

TEST(DrawPicture, CirclesStandOnTheirTokensWithTheirRadius) {
  std::vector<Token> tokens(16);
  tokens[0] = {1, 0.25f};
  const cv::Mat without = Draw(kFour, OnGrid(4, 4, {tokens}));
  for (const float size : {0.25f, 0.5f, 1.0f}) {
    // Row 1, column 2.
    tokens[6] = {1, size};
    const cv::Rect circle =
        Difference(Panels(without), Panels(Draw(kFour, OnGrid(4, 4, {tokens}))));
    EXPECT_NEAR(circle.x + circle.width / 2.0, kLayer + 2.5 * kCell, 1) << size;
    EXPECT_NEAR(circle.y + circle.height / 2.0, 1.5 * kCell, 1) << size;
    EXPECT_NEAR(circle.width, 2 * size * kCell, 3) << size;
    EXPECT_NEAR(circle.height, 2 * size * kCell, 3) << size;
  }
}

TEST(DrawPicture, WeightsAreColoursRelativeToTheLayersLargest) {
  std::vector<Token> light(16, {0.1f, 0.25f});
  std::vector<Token> heavy(16, {0.2f, 0.25f});
  std::vector<Token> doubled(16, {0.4f, 0.25f});
  light[0] = heavy[0] = {0.4f, 0.25f};
  doubled[0] = {0.8f, 0.25f};
  const cv::Mat picture = Panels(Draw(kFour, OnGrid(4, 4, {light, heavy, doubled})));
  // In the middle of a token's circle; layers count from 1.
  const auto brightness = [&](int layer, int token) {
    const auto middle = picture.at<cv::Vec3b>(token / 4 * kCell + kCell / 2,
                                              layer * kLayer + token % 4 * kCell + kCell / 2);
    return middle[0] + middle[1] + middle[2];
  };
  EXPECT_EQ(brightness(0, 5), 0);
  EXPECT_LT(brightness(1, 5), brightness(2, 5));
  EXPECT_LT(brightness(2, 5), brightness(2, 0));
  EXPECT_EQ(brightness(1, 0), brightness(2, 0));
  for (const int token : {0, 5, 15}) EXPECT_EQ(brightness(2, token), brightness(3, token));
}

TEST(DrawPicture, TokensBeforeTheGridAreNotDrawn) {
  const std::vector<Token> grid(16, {0.5f, 0.25f});
  std::vector<Token> behind_two = {{0.5f, 3}, {0.25f, 2}};
  behind_two.insert(behind_two.end(), grid.begin(), grid.end());
  EXPECT_EQ(DrawPicture(kFour, OnGrid(4, 4, {grid})).value(),
            DrawPicture(kFour, OnGrid(4, 4, {behind_two})).value());
}

TEST(DrawPicture, ShowsTheImageWithItsColoursStretchedToTheGrid) {
  cv::Mat image = Black(1, 2);
  image.at<cv::Vec3b>(0, 0) = {10, 20, 230};
  image.at<cv::Vec3b>(0, 1) = {240, 30, 5};
  const cv::Mat picture =
      Panels(Draw(EncodePng(image), OnGrid(4, 4, {std::vector<Token>(16, {1, 0.1f})})));
  EXPECT_EQ(picture.at<cv::Vec3b>(300, 100), cv::Vec3b(10, 20, 230));
  EXPECT_EQ(picture.at<cv::Vec3b>(30, 300), cv::Vec3b(240, 30, 5));
}

TEST(DrawPicture, ShowsWhatTheModelSawUnderTheGrid) {
  cv::Mat image = Black(8, 8);
  image(cv::Rect(4, 2, 4, 4)) = cv::Scalar(10, 20, 230);
  v1::Explanation explanation = OnGrid(4, 4, {std::vector<Token>(16, {1, 0.1f})});
  v1::ImageBox& box = *explanation.mutable_grid_box();
  box.set_left(0.5f);
  box.set_top(0.25f);
  box.set_width(0.5f);
  box.set_height(0.5f);
  const cv::Mat picture = Panels(Draw(EncodePng(image), explanation));
  const cv::Mat seen(336, 336, CV_8UC3, cv::Scalar(10, 20, 230));
  EXPECT_EQ(cv::norm(picture(cv::Rect(0, 0, 336, 336)), seen, cv::NORM_INF), 0);
  // Between circles: faded, and no colour is left.
  const auto faded = picture.at<cv::Vec3b>(2, kLayer + 2);
  EXPECT_GT(faded[0], 0);
  EXPECT_TRUE(faded[0] == faded[1] && faded[1] == faded[2]);
}

TEST(DrawPicture, CellsAreLargeEnoughToSee) {
  for (const uint32_t side : {1, 4, 14, 37}) {
    const std::vector<Token> tokens(size_t{side} * side, {1, 0.5f});
    const cv::Mat picture = Draw(kFour, OnGrid(side, side, {tokens}));
    EXPECT_GE(picture.cols, static_cast<int>(2 * 24 * side));
    EXPECT_GE(picture.rows, static_cast<int>(24 * side));
  }
}

TEST(DrawPicture, ManyLayersStandInRows) {
  const std::vector<Token> tokens(16, {1, 0.5f});
  const cv::Mat picture = Draw(kFour, OnGrid(4, 4, std::vector(24, tokens)));
  EXPECT_LE(picture.cols, 2000);
  EXPECT_GE(picture.rows, 5 * 336);
}

TEST(DrawPicture, TakesImagesOfEveryDepthAndShape) {
  const v1::Explanation explanation = OnGrid(4, 4, {std::vector<Token>(16, {1, 0.5f})});
  for (const int type : {CV_8UC1, CV_8UC3, CV_8UC4, CV_16UC1, CV_16UC3}) {
    for (const cv::Size size : {cv::Size(1, 1), cv::Size(1000, 2), cv::Size(640, 480)}) {
      const cv::Mat image(size, type, cv::Scalar::all(200));
      EXPECT_FALSE(Draw(EncodePng(image), explanation).empty()) << type << " " << size.width;
    }
  }
}

TEST(DrawPicture, DrawsNumbersThatNoModelSends) {
  constexpr float kMost = std::numeric_limits<float>::max();
  std::vector<Token> tokens(16, {1, kMost});
  tokens[1] = {kMost, std::numeric_limits<float>::infinity()};
  tokens[2] = {std::numeric_limits<float>::denorm_min(), std::nanf("")};
  tokens[3] = {-1, -1};
  EXPECT_FALSE(Draw(kFour, OnGrid(4, 4, {tokens, std::vector<Token>(16)})).empty());
}

TEST(DrawPicture, SaysWhatIsWrong) {
  const v1::Explanation explanation = OnGrid(1, 1, {{{1, 1}}});
  for (const std::string file : {"", "no image", "\x89PNG\r\n\x1A\n"}) {
    EXPECT_EQ(DrawPicture(file, explanation).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(DrawPicture(kFour, OnGrid(1, 2, {{{1, 1}}})).status().code(),
            absl::StatusCode::kInternal);
  const std::vector<Token> many(1'000'000);
  EXPECT_EQ(DrawPicture(kFour, OnGrid(1000, 1000, {many})).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace contextpool::cli
