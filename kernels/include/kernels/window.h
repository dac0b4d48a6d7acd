// A square window that slides over an image, as convolutions and pooling do.
#pragma once

#include <cstdint>

namespace contextpool::kernels {

// Output o of an axis looks at positions o * stride - padding + [0, size); those outside the image
// are padding.
struct Window {
  int64_t size = 1;
  int64_t stride = 1;
  // On each side; smaller than `size`, so that every window sees some of the image.
  int64_t padding = 0;

  bool operator==(const Window&) const = default;
};

// Whether the window fits at least once into an axis of `extent` positions.
constexpr bool Fits(const Window& window, int64_t extent) {
  return window.size > 0 && window.stride > 0 && window.padding >= 0 &&
         window.padding < window.size && extent > 0 && extent + 2 * window.padding >= window.size;
}

// Outputs of an axis of `extent` positions. REQUIRES: Fits.
constexpr int64_t Outputs(const Window& window, int64_t extent) {
  return (extent + 2 * window.padding - window.size) / window.stride + 1;
}

}  // namespace contextpool::kernels
