#include "clients/cli/grid_picture.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "clients/cli/grid_explanation.h"
#include "clients/cli/seen_image.h"

namespace contextpool::cli {
namespace {

// Everything in pixels.
constexpr int kMinCell = 24;
constexpr int kWishedPanel = 336;
constexpr int kWidestRow = 2000;
constexpr int kMargin = 24;
constexpr int kTitle = 46;
constexpr int kLegend = 40;
constexpr int64_t kMaxPixels = 100'000'000;
constexpr int kDot = 3;
// Fractional bits of coordinates.
constexpr int kShift = 4;
// Steps of weight that look different.
constexpr int kSteps = 16;

const cv::Scalar kPaper(255, 255, 255);
const cv::Scalar kInk(40, 40, 40);
const cv::Scalar kFaintInk(120, 120, 120);

// Where the parts of a picture stand: the image and one panel per layer, in rows.
struct Layout {
  Layout(const v1::Explanation& explanation, size_t layers)
      : columns(explanation.grid_width()), rows(explanation.grid_height()) {
    cell = std::max<int64_t>(kMinCell, kWishedPanel / std::max(columns, rows));
    width = columns * cell;
    height = rows * cell;
    panels = static_cast<int64_t>(layers) + 1;
    const int64_t fit = std::max<int64_t>((kWidestRow - kMargin) / (width + kMargin), 1);
    panel_rows = (panels + fit - 1) / fit;
    across = (panels + panel_rows - 1) / panel_rows;
  }

  // Of the grid.
  int64_t columns;
  int64_t rows;
  int64_t cell;
  // Of one panel.
  int64_t width;
  int64_t height;
  int64_t panels;
  int64_t panel_rows;
  int64_t across;

  int64_t total_width() const {
    return std::max<int64_t>(kMargin + across * (width + kMargin), 640);
  }
  int64_t total_height() const { return panel_rows * (kTitle + height + kMargin) + kLegend; }

  cv::Rect Panel(size_t i) const {
    const auto index = static_cast<int64_t>(i);
    return {static_cast<int>(kMargin + index % across * (width + kMargin)),
            static_cast<int>(kTitle + index / across * (kTitle + height + kMargin)),
            static_cast<int>(width), static_cast<int>(height)};
  }
};

void Write(cv::Mat canvas, const std::string& text, int x, int y, double scale,
           const cv::Scalar& ink) {
  cv::putText(canvas, text, {x, y}, cv::FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv::LINE_AA);
}

// The colour of a weight's share of its layer's largest.
cv::Scalar ColorOf(float share) {
  static const cv::Mat kMap = [] {
    cv::Mat ramp(1, 256, CV_8U);
    for (int i = 0; i < 256; ++i) ramp.at<uint8_t>(i) = static_cast<uint8_t>(i);
    cv::Mat map;
    cv::applyColorMap(ramp, map, cv::COLORMAP_INFERNO);
    return map;
  }();
  const float place = 0.35f + 0.6f * share;
  return kMap.at<cv::Vec3b>(static_cast<int>(std::lround(place * 255)));
}

// Mixes the colour into the pixels by mask * opacity.
void Blend(cv::Mat& pixels, const cv::Mat& mask, const cv::Scalar& color, float opacity) {
  for (int y = 0; y < pixels.rows; ++y) {
    auto* row = pixels.ptr<cv::Vec3b>(y);
    const auto* cover = mask.ptr<uint8_t>(y);
    for (int x = 0; x < pixels.cols; ++x) {
      if (cover[x] == 0) continue;
      const float share = opacity * static_cast<float>(cover[x]) / 255;
      for (int c = 0; c < 3; ++c) {
        row[x][c] = cv::saturate_cast<uint8_t>(row[x][c] + share * (color[c] - row[x][c]));
      }
    }
  }
}

// Without colours and darker, so that what is drawn over it stands out.
cv::Mat Fade(const cv::Mat& image) {
  cv::Mat gray, faded;
  cv::cvtColor(image, gray, cv::COLOR_BGR2GRAY);
  gray.convertTo(gray, CV_8U, 0.6);
  cv::cvtColor(gray, faded, cv::COLOR_GRAY2BGR);
  return faded;
}

// In units of 2^-kShift pixels.
struct Circle {
  cv::Point center;
  int radius = 0;
};

// Of token i, row by row. Not much larger than the grid.
Circle CircleOf(size_t i, float support_size, const Layout& layout) {
  const auto fixed = [](float pixels) {
    return static_cast<int>(std::lround(pixels * (1 << kShift)));
  };
  const auto cell = static_cast<float>(layout.cell);
  // The middle of a pixel is a whole number.
  const auto middle = [&](int64_t place) {
    return fixed((static_cast<float>(place) + 0.5f) * cell - 0.5f);
  };
  const auto index = static_cast<int64_t>(i);
  const auto longest = static_cast<float>(layout.columns + layout.rows);
  const float radius = std::min(support_size, longest) * cell;
  return {{middle(index % layout.columns), middle(index / layout.columns)}, fixed(radius)};
}

// All tokens of about one weight: `share` of the layer's largest.
void DrawCircles(const std::vector<Circle>& circles, float share, cv::Mat& panel) {
  cv::Mat discs(panel.size(), CV_8U, cv::Scalar(0));
  cv::Mat rims(panel.size(), CV_8U, cv::Scalar(0));
  for (const Circle& circle : circles) {
    cv::circle(discs, circle.center, circle.radius, 255, cv::FILLED, cv::LINE_AA, kShift);
    cv::circle(rims, circle.center, circle.radius, 255, 1, cv::LINE_AA, kShift);
    // Of large circles it would be hard to see whose they are.
    cv::circle(rims, circle.center, kDot << kShift, 255, cv::FILLED, cv::LINE_AA, kShift);
  }
  Blend(panel, discs, ColorOf(share), 0.4f * share * share);
  Blend(panel, rims, ColorOf(share), 0.2f + 0.8f * share);
}

void DrawLayer(const GridLayer& layer, const Layout& layout, cv::Mat panel) {
  const float largest = SpreadOf(layer.weights).max;
  // Light ones first: heavy ones lie on top.
  std::array<std::vector<Circle>, kSteps> steps;
  for (size_t i = 0; i < layer.weights.size(); ++i) {
    const float share = largest > 0 ? layer.weights[i] / largest : 0;
    const auto step = static_cast<size_t>(share * (kSteps - 1) + 0.5f);
    steps[step].push_back(CircleOf(i, layer.support_sizes[i], layout));
  }
  for (size_t step = 0; step < kSteps; ++step) {
    if (steps[step].empty()) continue;
    DrawCircles(steps[step], static_cast<float>(step) / (kSteps - 1), panel);
  }
}

std::string Describe(const GridLayer& layer) {
  const Spread weight = SpreadOf(layer.weights);
  const Spread size = SpreadOf(layer.support_sizes);
  return absl::StrFormat("weight %.2g to %.2g, support %.2g to %.2g cells", weight.min, weight.max,
                         size.min, size.max);
}

// Above the panel and no wider.
void DrawTitle(cv::Mat& canvas, const cv::Rect& panel, const std::string& title,
               const std::string& note) {
  const cv::Mat strip = canvas(cv::Rect(panel.x, panel.y - kTitle, panel.width, kTitle));
  Write(strip, title, 0, 20, 0.55, kInk);
  Write(strip, note, 0, 37, 0.4, kFaintInk);
}

void DrawLegend(cv::Mat& canvas) {
  constexpr int kBar = 120;
  constexpr int kRadius = 8;
  const int y = canvas.rows - kLegend / 2 - 4;
  int x = kMargin;
  for (int i = 0; i < kBar; ++i) {
    const auto share = static_cast<float>(i) / (kBar - 1);
    cv::line(canvas, {x + i, y - 6}, {x + i, y + 6}, ColorOf(share));
  }
  x += kBar + 10;
  Write(canvas, "weight, from 0 to the layer's largest", x, y + 4, 0.4, kInk);
  x += 270;
  cv::circle(canvas, {x, y}, kRadius, kInk, 1, cv::LINE_AA);
  cv::line(canvas, {x, y}, {x + kRadius, y}, kInk);
  Write(canvas, "radius: support size", x + kRadius + 10, y + 4, 0.4, kInk);
}

absl::StatusOr<std::string> Draw(absl::string_view file, const v1::Explanation& explanation) {
  const auto layers = GridLayers(explanation);
  if (!layers.ok()) return layers.status();
  const Layout layout(explanation, layers->size());
  if (layout.total_width() > kMaxPixels / layout.total_height()) {
    return absl::InvalidArgumentError("too large to draw; --json has the numbers");
  }
  const cv::Size size = layout.Panel(0).size();
  auto seen = ReadSeenImage(file, explanation, size.height, size.width);
  if (!seen.ok()) return seen.status();
  const cv::Mat image(size, CV_8UC3, seen->data());
  const cv::Mat faded = Fade(image);

  cv::Mat canvas(static_cast<int>(layout.total_height()), static_cast<int>(layout.total_width()),
                 CV_8UC3, kPaper);
  image.copyTo(canvas(layout.Panel(0)));
  DrawTitle(canvas, layout.Panel(0), SeesAll(explanation) ? "image" : "what the model saw",
            absl::StrCat("grid of ", layout.columns, " x ", layout.rows, " tokens"));
  for (size_t i = 0; i < layers->size(); ++i) {
    const cv::Rect panel = layout.Panel(i + 1);
    faded.copyTo(canvas(panel));
    DrawLayer((*layers)[i], layout, canvas(panel));
    DrawTitle(canvas, panel, absl::StrCat("layer ", (*layers)[i].layer), Describe((*layers)[i]));
  }
  DrawLegend(canvas);
  std::vector<uint8_t> png;
  cv::imencode(".png", canvas, png);
  return std::string(png.begin(), png.end());
}

}  // namespace

absl::StatusOr<std::string> DrawPicture(absl::string_view image,
                                        const v1::Explanation& explanation) try {
  return Draw(image, explanation);
} catch (const cv::Exception& error) {
  return absl::InternalError(absl::StrCat("cannot draw: ", error.what()));
}

}  // namespace contextpool::cli
