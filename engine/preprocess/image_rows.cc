#include "engine/preprocess/image_rows.h"

#include <algorithm>
#include <utility>

#include "engine/preprocess/image_rows_avx2.h"

namespace contextpool::engine {
namespace {

constexpr int32_t kHalf = 1 << (kWeightBits - 1);

uint8_t ToPixel(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
}

void Along(const std::array<const uint8_t*, kRowGroup>& rows, const AxisFilter& filter,
           const std::array<uint8_t*, kRowGroup>& out) {
  for (int32_t r = 0; r < kRowGroup; ++r) {
    for (int32_t x = 0; x < filter.outputs(); ++x) {
      const AxisFilter::Span& span = filter.span(x);
      const int32_t* weights = filter.weights(x);
      for (int32_t c = 0; c < 3; ++c) {
        const uint8_t* pixels = rows[r] + ptrdiff_t{3} * span.first + c;
        int32_t sum = kHalf;
        for (int32_t t = 0; t < span.taps; ++t) sum += pixels[ptrdiff_t{3} * t] * weights[t];
        out[r][ptrdiff_t{3} * x + c] = ToPixel(sum);
      }
    }
  }
}

void Across(const uint8_t* const* rows, const AxisFilter& filter, int32_t output, size_t bytes,
            uint8_t* out) {
  const int32_t taps = filter.span(output).taps;
  const int32_t* weights = filter.weights(output);
  for (size_t i = 0; i < bytes; ++i) {
    int32_t sum = kHalf;
    for (int32_t t = 0; t < taps; ++t) sum += rows[t][i] * weights[t];
    out[i] = ToPixel(sum);
  }
}

void SwapChannels(uint8_t* pixels, size_t count) {
  for (size_t i = 0; i < count; ++i) std::swap(pixels[3 * i], pixels[3 * i + 2]);
}

constexpr RowFunctions kPlainRows = {Along, Across, SwapChannels};

}  // namespace

const RowFunctions& PlainRows() { return kPlainRows; }

const RowFunctions& BestRows() {
#if defined(__x86_64__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  if (has_avx2) return Avx2Rows();
#endif
  return kPlainRows;
}

}  // namespace contextpool::engine
