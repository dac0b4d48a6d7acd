// Interleaved uint8 pixels to floats. Included only by files compiled for AVX2; the unnamed
// namespace keeps its code out of every other file.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace contextpool::kernels::cpu::avx2 {
namespace {

// value = pixel * scale[channel] + offset[channel], eight values at a time.
class PixelConversion {
 public:
  static constexpr int64_t kChannels = 3;

  PixelConversion(const float* scale, const float* offset) {
    for (int64_t i = 0; i < kLength; ++i) {
      scale_[i] = scale[i % kChannels];
      offset_[i] = offset[i % kChannels];
    }
  }

  // `count` values, the first of channel 0. Reads and writes nothing beyond them.
  void Convert(const uint8_t* pixels, int64_t count, float* out) const {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) Convert8(pixels, i, out);
    if (i == count) return;
    if (count >= 8) return Convert8(pixels, count - 8, out);  // some of them again
    alignas(8) uint8_t few[8] = {};
    alignas(32) float values[8];
    for (i = 0; i < count; ++i) few[i] = pixels[i];
    Convert8(few, 0, values);
    for (i = 0; i < count; ++i) out[i] = values[i];
  }

 private:
  // From whichever channel eight values begin.
  static constexpr int64_t kLength = 8 + kChannels - 1;

  void Convert8(const uint8_t* pixels, int64_t i, float* out) const {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels + i));
    const __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    const __m256 scale = _mm256_loadu_ps(scale_ + i % kChannels);
    const __m256 offset = _mm256_loadu_ps(offset_ + i % kChannels);
    _mm256_storeu_ps(out + i, _mm256_fmadd_ps(values, scale, offset));
  }

  float scale_[kLength];
  float offset_[kLength];
};

}  // namespace
}  // namespace contextpool::kernels::cpu::avx2
