// Weights have 23 bits and a sign, but the instruction that multiplies and adds fastest (vpmaddwd:
// two products of 16-bit numbers, summed in 32 bits) takes 16. So each weight is split into a high
// and a low part, which are summed apart and joined at the end. All of it is exact modulo 2^32.
//
// Functions, not files, are compiled for AVX2, so that no inline function of a common header is.
#include "engine/preprocess/image_rows_avx2.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#define CONTEXTPOOL_AVX2 __attribute__((target("avx2")))

namespace contextpool::engine {
namespace {

constexpr int kGroupBytes = kTapGroup * 3;
// Bytes of an output row that are made at a time.
constexpr size_t kChunk = 32;

// Sums in 32-bit lanes to pixel values, not yet clamped.
CONTEXTPOOL_AVX2 inline __m256i Join(__m256i high, __m256i low) {
  const __m256i half = _mm256_set1_epi32(1 << (kWeightBits - 1));
  const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, kLowBits), low);
  return _mm256_srai_epi32(_mm256_add_epi32(sum, half), kWeightBits);
}

// The same for one pixel whose taps are spread over both halves: the sums are added first.
CONTEXTPOOL_AVX2 inline void StorePixel(__m256i high, __m256i low, uint8_t* out) {
  const __m256i both = _mm256_add_epi32(_mm256_slli_epi32(high, kLowBits), low);
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  sum = _mm_srai_epi32(_mm_add_epi32(sum, _mm_set1_epi32(1 << (kWeightBits - 1))), kWeightBits);
  const __m128i bytes = _mm_packus_epi16(_mm_packs_epi32(sum, sum), sum);
  const int32_t pixel = _mm_cvtsi128_si32(bytes);
  // The fourth byte is overwritten by the next pixel.
  std::memcpy(out, &pixel, sizeof(pixel));
}

// Four pixels are twelve bytes. The lower half of a register takes the first two of them, the upper
// half the others, as pairs of 16-bit numbers of one channel.
CONTEXTPOOL_AVX2 inline __m256i PixelPairs() {
  return _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
                          6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
}

// Their weights, of which a group holds four high parts and four low ones: `at` is 0 or 8.
CONTEXTPOOL_AVX2 inline __m256i WeightPairs(int32_t at) {
  const int32_t first = 0x03020100 + 0x01010101 * at;
  const int32_t second = first + 0x04040404;
  return _mm256_setr_epi32(first, first, first, first, second, second, second, second);
}

CONTEXTPOOL_AVX2 inline __m256i LoadTwice(const void* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

CONTEXTPOOL_AVX2 void Along(const std::array<const uint8_t*, kRowGroup>& rows,
                            const AxisFilter& filter, const std::array<uint8_t*, kRowGroup>& out) {
  const __m256i pixel_pairs = PixelPairs();
  const __m256i high_pairs = WeightPairs(0);
  const __m256i low_pairs = WeightPairs(8);
  for (int32_t x = 0; x < filter.outputs(); ++x) {
    const AxisFilter::Span& span = filter.span(x);
    const int16_t* split = filter.split(x);
    const int32_t groups = (span.taps + kTapGroup - 1) / kTapGroup;
    __m256i high[kRowGroup], low[kRowGroup];
    for (int32_t r = 0; r < kRowGroup; ++r) high[r] = low[r] = _mm256_setzero_si256();
    for (int32_t g = 0; g < groups; ++g) {
      const __m256i weights = LoadTwice(split + ptrdiff_t{2} * kTapGroup * g);
      const __m256i high_weights = _mm256_shuffle_epi8(weights, high_pairs);
      const __m256i low_weights = _mm256_shuffle_epi8(weights, low_pairs);
      const ptrdiff_t at = ptrdiff_t{3} * span.first + ptrdiff_t{kGroupBytes} * g;
      for (int32_t r = 0; r < kRowGroup; ++r) {
        const __m256i pixels = _mm256_shuffle_epi8(LoadTwice(rows[r] + at), pixel_pairs);
        high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(pixels, high_weights));
        low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(pixels, low_weights));
      }
    }
    for (int32_t r = 0; r < kRowGroup; ++r) StorePixel(high[r], low[r], out[r] + ptrdiff_t{3} * x);
  }
}

// Two 16-bit weights of neighbouring rows in every lane.
CONTEXTPOOL_AVX2 inline __m256i BroadcastPair(const int16_t* weights) {
  int32_t pair;
  std::memcpy(&pair, weights, sizeof(pair));
  return _mm256_set1_epi32(pair);
}

CONTEXTPOOL_AVX2 inline __m256i Load(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// kChunk bytes of the output row. Interleaving works in each half of a register on its own, and
// packing undoes just that.
CONTEXTPOOL_AVX2 inline __m256i AcrossChunk(const uint8_t* const* rows, const int16_t* split,
                                            int32_t taps, size_t at) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i high[4], low[4];
  for (int i = 0; i < 4; ++i) high[i] = low[i] = zero;
  for (int32_t t = 0; t < taps; t += 2) {
    const int16_t* group = split + ptrdiff_t{t} / kTapGroup * 2 * kTapGroup + t % kTapGroup;
    const __m256i high_weights = BroadcastPair(group);
    const __m256i low_weights = BroadcastPair(group + kTapGroup);
    const __m256i first = Load(rows[t] + at);
    const __m256i second = Load(rows[t + 1] + at);
    const __m256i lower = _mm256_unpacklo_epi8(first, second);
    const __m256i upper = _mm256_unpackhi_epi8(first, second);
    const __m256i pairs[4] = {_mm256_unpacklo_epi8(lower, zero), _mm256_unpackhi_epi8(lower, zero),
                              _mm256_unpacklo_epi8(upper, zero), _mm256_unpackhi_epi8(upper, zero)};
    for (int i = 0; i < 4; ++i) {
      high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(pairs[i], high_weights));
      low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(pairs[i], low_weights));
    }
  }
  return _mm256_packus_epi16(_mm256_packs_epi32(Join(high[0], low[0]), Join(high[1], low[1])),
                             _mm256_packs_epi32(Join(high[2], low[2]), Join(high[3], low[3])));
}

CONTEXTPOOL_AVX2 void Across(const uint8_t* const* rows, const AxisFilter& filter, int32_t output,
                             size_t bytes, uint8_t* out) {
  const int32_t taps = filter.span(output).taps;
  const int16_t* split = filter.split(output);
  size_t at = 0;
  for (; at + kChunk <= bytes; at += kChunk) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + at), AcrossChunk(rows, split, taps, at));
  }
  if (at == bytes) return;
  alignas(kChunk) uint8_t last[kChunk];
  _mm256_store_si256(reinterpret_cast<__m256i*>(last), AcrossChunk(rows, split, taps, at));
  std::memcpy(out + at, last, bytes - at);
}

constexpr RowFunctions kAvx2Rows = {Along, Across};

}  // namespace

const RowFunctions& Avx2Rows() { return kAvx2Rows; }

}  // namespace contextpool::engine

#endif
