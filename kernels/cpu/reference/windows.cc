// The plain forms of what slides a window over images: the oracle of the vectorised ones.

#include <cmath>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/row_tasks.h"
#include "kernels/cpu/window_places.h"

namespace contextpool::kernels::cpu::reference {
namespace {

// `index`: of [images, height, width, channels].
float Value(const Im2ColParams& p, int64_t index, int64_t channel) {
  if (p.x != nullptr) return static_cast<const float*>(p.x)[index];
  return static_cast<float>(p.pixels[index]) * p.scale[channel] + p.offset[channel];
}

}  // namespace

void Im2Col(const Im2ColParams& p, CpuStream& stream) {
  const WindowGrid grid(p.window, p.height, p.width);
  const int64_t columns = p.window.size * p.window.size * p.channels;
  ForRows(p.rows, stream, [&](int64_t row) {
    const WindowPlace place = grid.At(p.first_row + row);
    float* out = static_cast<float*>(p.out) + row * columns;
    for (int64_t ty = 0; ty < p.window.size; ++ty) {
      for (int64_t tx = 0; tx < p.window.size; ++tx) {
        const bool inside = place.y.Inside(ty) && place.x.Inside(tx);
        for (int64_t c = 0; c < p.channels; ++c) {
          *out++ = inside ? Value(p, place.Pixel(ty, tx) * p.channels + c, c) : 0.0f;
        }
      }
    }
  });
}

void MaxPool(const MaxPoolParams& p, CpuStream& stream) {
  const WindowGrid grid(p.window, p.height, p.width);
  ForRows(p.images * grid.outputs(), stream, [&](int64_t row) {
    const WindowPlace place = grid.At(row);
    float* out = static_cast<float*>(p.out) + row * p.channels;
    for (int64_t c = 0; c < p.channels; ++c) {
      float peak = -INFINITY;
      for (int64_t ty = place.y.begin; ty < place.y.end; ++ty) {
        for (int64_t tx = place.x.begin; tx < place.x.end; ++tx) {
          const float value = static_cast<const float*>(p.x)[place.Pixel(ty, tx) * p.channels + c];
          if (!std::isnan(peak) && !(value <= peak)) peak = value;
        }
      }
      out[c] = peak;
    }
  });
}

}  // namespace contextpool::kernels::cpu::reference
