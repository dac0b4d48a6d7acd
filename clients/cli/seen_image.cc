#include "clients/cli/seen_image.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <utility>

#include "absl/status/status.h"

namespace contextpool::cli {
namespace {

// A bound of what a model can see, that keeps the arithmetic finite.
constexpr double kFarthest = 1e6;
// Pixels beyond the box that filters look at.
constexpr int kMargin = 4;

// An axis of the box on an image of so many pixels.
struct Span {
  double begin;
  double size;

  // Of the same place once pixels before it are cut off and the rest is resized.
  Span Moved(int cut, double scale) const { return {(begin - cut) * scale, size * scale}; }

  // Whole pixels around it: [first, second), at least one.
  std::pair<int, int> Around(int pixels) const {
    const auto within = [&](double place, int low, int high) {
      return static_cast<int>(std::clamp<double>(place, low, high));
    };
    const int first = within(std::floor(begin) - kMargin, 0, pixels - 1);
    return {first, within(std::ceil(begin + size) + kMargin, first + 1, pixels)};
  }
};

// To how many pixels these are averaged, so that `size` of them become no more than `wanted`.
int Shrunk(int pixels, double size, int wanted) {
  return std::max(1, static_cast<int>(std::lround(pixels * std::min(1.0, wanted / size))));
}

// Which of `pixels` over [begin, begin + size) show the image, which lies on [0, 1).
cv::Range Covered(double begin, double size, int pixels) {
  const auto pixel = [&](double place) {
    const double at = (place - begin) / size * pixels;
    return static_cast<int>(std::lround(std::clamp<double>(at, 0, pixels)));
  };
  return {pixel(0), pixel(1)};
}

int FilterOf(const Span& across, const Span& down, const cv::Size& size) {
  const bool squares = size.width >= 4 * across.size && size.height >= 4 * down.size;
  const bool larger = size.width > across.size && size.height > down.size;
  return squares ? cv::INTER_NEAREST : larger ? cv::INTER_CUBIC : cv::INTER_LINEAR;
}

absl::StatusOr<cv::Rect2d> BoxOf(const v1::Explanation& explanation) {
  if (SeesAll(explanation)) return cv::Rect2d(0, 0, 1, 1);
  const v1::ImageBox& box = explanation.grid_box();
  const auto near = [](float value) { return std::abs(value) <= kFarthest; };
  const bool placed = near(box.left()) && near(box.top());
  const bool sized = near(box.width()) && near(box.height()) && box.width() > 0 && box.height() > 0;
  if (placed && sized) return cv::Rect2d(box.left(), box.top(), box.width(), box.height());
  return absl::InternalError("the server's explanation places the grid nowhere on the image");
}

// Of the orientations from 1 to 8; as Pillow's ImageOps.exif_transpose does.
void TurnUpright(uint32_t orientation, cv::Mat& image) {
  constexpr int kAcross = 1, kDown = 0, kBoth = -1;
  if (orientation >= 5) image = image.t();
  if (orientation == 2 || orientation == 6) cv::flip(image, image, kAcross);
  if (orientation == 3 || orientation == 7) cv::flip(image, image, kBoth);
  if (orientation == 4 || orientation == 8) cv::flip(image, image, kDown);
}

// Empty if it cannot be decoded.
cv::Mat Decode(absl::string_view file, uint32_t orientation) {
  if (file.empty()) return {};
  const cv::Mat bytes(1, static_cast<int>(file.size()), CV_8U, const_cast<char*>(file.data()));
  // Where the reply does not say, as those of older servers, the decoder's own idea must do.
  if (orientation < 1 || orientation > 8) return cv::imdecode(bytes, cv::IMREAD_COLOR);
  cv::Mat image = cv::imdecode(bytes, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
  if (!image.empty()) TurnUpright(orientation, image);
  return image;
}

// What lies in `box`, in shares of the image.
cv::Mat CutOut(const cv::Mat& image, const cv::Rect2d& box, const cv::Size& size) {
  cv::Mat seen(size, CV_8UC3, cv::Scalar(0, 0, 0));
  const cv::Range columns = Covered(box.x, box.width, size.width);
  const cv::Range rows = Covered(box.y, box.height, size.height);
  if (columns.empty() || rows.empty()) return seen;

  Span across = {box.x * image.cols, box.width * image.cols};
  Span down = {box.y * image.rows, box.height * image.rows};
  const auto [left, right] = across.Around(image.cols);
  const auto [top, bottom] = down.Around(image.rows);
  const cv::Mat part = image(cv::Range(top, bottom), cv::Range(left, right));

  cv::Mat shrunk;
  cv::resize(
      part, shrunk,
      {Shrunk(part.cols, across.size, size.width), Shrunk(part.rows, down.size, size.height)}, 0, 0,
      cv::INTER_AREA);
  across = across.Moved(left, static_cast<double>(shrunk.cols) / part.cols);
  down = down.Moved(top, static_cast<double>(shrunk.rows) / part.rows);

  // From pixels of the result to those of the image, whose middles are whole numbers.
  const double x = across.size / size.width;
  const double y = down.size / size.height;
  const cv::Matx23d place(x, 0, across.begin + 0.5 * x - 0.5, 0, y, down.begin + 0.5 * y - 0.5);
  cv::Mat stretched;
  cv::warpAffine(shrunk, stretched, place, size,
                 FilterOf(across, down, size) | cv::WARP_INVERSE_MAP, cv::BORDER_REPLICATE);
  stretched(rows, columns).copyTo(seen(rows, columns));
  return seen;
}

}  // namespace

bool SeesAll(const v1::Explanation& explanation) {
  const v1::ImageBox& box = explanation.grid_box();
  return !explanation.has_grid_box() ||
         (box.left() == 0 && box.top() == 0 && box.width() == 1 && box.height() == 1);
}

absl::StatusOr<std::vector<uint8_t>> ReadSeenImage(absl::string_view file,
                                                   const v1::Explanation& explanation, int height,
                                                   int width) {
  const auto box = BoxOf(explanation);
  if (!box.ok()) return box.status();
  const cv::Mat image = Decode(file, explanation.image_orientation());
  if (image.empty()) return absl::InvalidArgumentError("the image cannot be decoded");
  const cv::Mat seen = CutOut(image, *box, {width, height});
  return std::vector<uint8_t>(seen.datastart, seen.dataend);
}

}  // namespace contextpool::cli
