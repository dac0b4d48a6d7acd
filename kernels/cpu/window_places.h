// Where windows lie on images. In an unnamed namespace because files compiled for different
// instruction sets include it.
#pragma once

#include <cstdint>

#include "kernels/window.h"

namespace contextpool::kernels::cpu {
namespace {

// One window along one axis: tap t lies on position origin + t, inside the image for taps
// [begin, end).
struct Taps {
  Taps(const Window& window, int64_t output, int64_t extent)
      : origin(output * window.stride - window.padding),
        begin(origin < 0 ? -origin : 0),
        end(extent - origin < window.size ? extent - origin : window.size) {}

  bool Inside(int64_t tap) const { return begin <= tap && tap < end; }

  int64_t origin, begin, end;
};

// One window; its taps (y, x) lie on pixel origin + y * width + x of [images, height, width].
struct WindowPlace {
  int64_t Pixel(int64_t tap_y, int64_t tap_x) const { return origin + tap_y * width + tap_x; }

  Taps y, x;
  int64_t origin, width;
};

// All windows of images of one size.
class WindowGrid {
 public:
  WindowGrid(const Window& window, int64_t height, int64_t width)
      : window_(window),
        height_(height),
        width_(width),
        out_height_(Outputs(window, height)),
        out_width_(Outputs(window, width)) {}

  // Of one image.
  int64_t outputs() const { return out_height_ * out_width_; }

  // `row`: of [images, out_height, out_width].
  WindowPlace At(int64_t row) const {
    const int64_t line = row / out_width_;
    const int64_t image = line / out_height_;
    const Taps y(window_, line - image * out_height_, height_);
    const Taps x(window_, row - line * out_width_, width_);
    return {y, x, (image * height_ + y.origin) * width_ + x.origin, width_};
  }

 private:
  const Window window_;
  const int64_t height_, width_;
  const int64_t out_height_, out_width_;
};

}  // namespace
}  // namespace contextpool::kernels::cpu
