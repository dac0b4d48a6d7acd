// How a checkpoint wants its images: preprocessor_config.json as a checked value.
#pragma once

#include <array>
#include <cstdint>

namespace contextpool::engine {

struct ImageSize {
  int32_t height = 0;
  int32_t width = 0;

  friend bool operator==(const ImageSize&, const ImageSize&) = default;
};

// A rectangle on an image that stands upright, in shares of its width and height; it may reach
// beyond the image.
struct ImageBox {
  float left = 0;
  float top = 0;
  float width = 1;
  float height = 1;

  friend bool operator==(const ImageBox&, const ImageBox&) = default;
};

// Pillow's filters, with the numbers that Pillow and checkpoints give them.
enum class Resample : uint8_t {
  kNearest = 0,
  kLanczos = 1,
  kBilinear = 2,
  kBicubic = 3,
  kBox = 4,
  kHamming = 5,
};

// What is refused before it is decoded.
struct ImageLimits {
  int64_t max_bytes = 16 << 20;  // of the file
  int64_t max_pixels = 50'000'000;

  friend bool operator==(const ImageLimits&, const ImageLimits&) = default;
};

// First resizing: the shorter side to `shortest_edge` with the aspect ratio kept, or both sides to
// `resize`, or (both zero) none. Then, if `center_crop`, cutting the middle out, with black where
// the image is too small.
struct ImageConfig {
  // What the model reads: the result of the above for every image.
  ImageSize size;

  int32_t shortest_edge = 0;
  ImageSize resize;
  Resample resample = Resample::kBilinear;
  bool center_crop = false;

  // value = (pixel * rescale_factor - mean) / std, for each channel of RGB.
  double rescale_factor = 1.0 / 255;
  std::array<double, 3> mean = {0, 0, 0};
  std::array<double, 3> std = {1, 1, 1};

  // Of one image as the model reads it: [height, width, 3].
  int64_t bytes() const { return int64_t{3} * size.height * size.width; }

  bool resizes() const { return shortest_edge > 0 || resize.height > 0; }

  // The same as value = pixel * scale()[c] + offset()[c].
  std::array<float, 3> scale() const {
    std::array<float, 3> result;
    for (int c = 0; c < 3; ++c) result[c] = static_cast<float>(rescale_factor / std[c]);
    return result;
  }
  std::array<float, 3> offset() const {
    std::array<float, 3> result;
    for (int c = 0; c < 3; ++c) result[c] = static_cast<float>(-mean[c] / std[c]);
    return result;
  }
};

}  // namespace contextpool::engine
