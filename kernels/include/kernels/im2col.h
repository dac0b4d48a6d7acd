// The patches that a convolution multiplies with its weights, one below the other.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/launch.h"
#include "kernels/window.h"

namespace contextpool::kernels {

// Channels of a pixel.
inline constexpr int64_t kPixelChannels = 3;

// Row (image, y, x) of the whole matrix [images * out_height * out_width, size * size * channels]
// is the window of output (y, x), in the order row, column, channel; padding is 0. A range of rows
// is written, so that a convolution can go on block by block.
struct Im2ColParams {
  // [images, height, width, channels], dense. Null: `pixels` instead.
  const void* x = nullptr;
  // uint8 [images, height, width, kPixelChannels], dense; a patch holds pixel * scale[channel] +
  // offset[channel].
  const uint8_t* pixels = nullptr;
  std::array<float, kPixelChannels> scale{};
  std::array<float, kPixelChannels> offset{};
  // [rows, size * size * channels], dense.
  void* out = nullptr;
  DType dtype = DType::kF32;  // of x and out
  Window window;
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;
  // Rows [first_row, first_row + rows) of the whole matrix.
  int64_t first_row = 0;
  int64_t rows = 0;

  bool operator==(const Im2ColParams&) const = default;
};

namespace cpu {
Status Im2Col(const Im2ColParams& params, StreamHandle stream);
}  // namespace cpu

// Patches of pixels only, to float16 and bfloat16: kBadShape unless `pixels` is given, the window's
// stride is its size, padding is 0, size and width are even and at most 2^14 and both addresses
// multiples of 16 bytes. Fastest where 3 * size and 3 * width are multiples of 8.
namespace cuda {
Status Im2Col(const Im2ColParams& params, StreamHandle stream);
}  // namespace cuda

// The kernels of `cuda` on the emulator: `stream` is a simt::Stream*.
namespace emulated {
Status Im2Col(const Im2ColParams& params, StreamHandle stream);
}  // namespace emulated

}  // namespace contextpool::kernels
