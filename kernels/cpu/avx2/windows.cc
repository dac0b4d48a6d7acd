// What slides a window over images. Channels lie side by side, so a line of a window is one piece
// of memory.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/avx2/math.h"
#include "kernels/cpu/avx2/pixels.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/row_tasks.h"
#include "kernels/cpu/window_places.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

// Writes rows of patches. `copy(index, count, out)` writes `count` values from `index` of
// [images, height, width, channels] on.
template <typename Copy>
void GatherRows(const Im2ColParams& p, CpuStream& stream, const Copy& copy) {
  const WindowGrid grid(p.window, p.height, p.width);
  const int64_t line_columns = p.window.size * p.channels;
  ForRows(p.rows, stream, [&](int64_t row) {
    const WindowPlace place = grid.At(p.first_row + row);
    float* out = static_cast<float*>(p.out) + row * p.window.size * line_columns;
    const int64_t begin = place.x.begin * p.channels;
    const int64_t end = place.x.end * p.channels;
    for (int64_t ty = 0; ty < p.window.size; ++ty, out += line_columns) {
      if (!place.y.Inside(ty)) {
        std::fill_n(out, line_columns, 0.0f);
        continue;
      }
      std::fill_n(out, begin, 0.0f);
      copy(place.Pixel(ty, place.x.begin) * p.channels, end - begin, out + begin);
      std::fill_n(out + end, line_columns - end, 0.0f);
    }
  });
}

}  // namespace

void Im2Col(const Im2ColParams& p, CpuStream& stream) {
  if (p.x != nullptr) {
    const float* x = static_cast<const float*>(p.x);
    return GatherRows(p, stream, [x](int64_t index, int64_t count, float* out) {
      std::memcpy(out, x + index, static_cast<size_t>(count) * sizeof(float));
    });
  }
  const PixelConversion conversion(p.scale.data(), p.offset.data());
  GatherRows(p, stream, [&](int64_t index, int64_t count, float* out) {
    conversion.Convert(p.pixels + index, count, out);
  });
}

void MaxPool(const MaxPoolParams& p, CpuStream& stream) {
  const WindowGrid grid(p.window, p.height, p.width);
  ForRows(p.images * grid.outputs(), stream, [&](int64_t row) {
    const WindowPlace place = grid.At(row);
    float* out = static_cast<float*>(p.out) + row * p.channels;
    ForColumns(p.channels, [&](int64_t c, auto lanes) {
      __m256 peak = _mm256_set1_ps(-INFINITY);
      for (int64_t ty = place.y.begin; ty < place.y.end; ++ty) {
        const float* x =
            static_cast<const float*>(p.x) + place.Pixel(ty, place.x.begin) * p.channels + c;
        for (int64_t tx = place.x.begin; tx < place.x.end; ++tx, x += p.channels) {
          // A NaN on either side wins: max_ps returns the second of an unordered pair.
          const __m256 bad = _mm256_cmp_ps(peak, peak, _CMP_UNORD_Q);
          const __m256 larger = _mm256_max_ps(peak, lanes.Load(x));
          peak = _mm256_blendv_ps(larger, peak, bad);
        }
      }
      lanes.Store(out + c, peak);
    });
  });
}

}  // namespace contextpool::kernels::cpu::avx2
