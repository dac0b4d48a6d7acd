// The largest value of each window of an image, channel by channel.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/launch.h"
#include "kernels/window.h"

namespace contextpool::kernels {

// Padding is never the largest. A NaN wins, as in PyTorch.
struct MaxPoolParams {
  // [images, height, width, channels], dense.
  const void* x = nullptr;
  // [images, out_height, out_width, channels], dense. Does not overlap x.
  void* out = nullptr;
  DType dtype = DType::kF32;
  Window window;
  int64_t images = 0;
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;
};

namespace cpu {
Status MaxPool(const MaxPoolParams& params, StreamHandle stream);
}  // namespace cpu

}  // namespace contextpool::kernels
