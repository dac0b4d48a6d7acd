// Weights have 23 bits and a sign, but the instruction that multiplies and adds fastest (vpmaddwd:
// two products of 16-bit numbers, summed in 32 bits) takes 16. So each weight is split into a high
// and a low part, which are summed apart and joined at the end. All of it is exact modulo 2^32.
//
// Functions, not files, are compiled for AVX2, so that no inline function of a common header is.
#include "engine/preprocess/image_rows_avx2.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#include "engine/preprocess/image_buffer.h"

#define CONTEXTPOOL_AVX2 __attribute__((target("avx2")))

namespace contextpool::engine {
namespace {

// Bytes of an output row that are made at a time.
constexpr size_t kChunk = 32;

// Sums of high and low parts to pixel values, not yet clamped.
CONTEXTPOOL_AVX2 inline __m256i Rounded(__m256i high, __m256i low) {
  const __m256i half = _mm256_set1_epi32(1 << (kWeightBits - 1));
  const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, kLowBits), low);
  return _mm256_srai_epi32(_mm256_add_epi32(sum, half), kWeightBits);
}

CONTEXTPOOL_AVX2 inline __m256i LoadBoth(const uint8_t* lower, const uint8_t* upper) {
  const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(lower));
  const __m128i second = _mm_loadu_si128(reinterpret_cast<const __m128i*>(upper));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}

// The high and the low parts of the weights t and t + 1, for even t, in every lane.
struct WeightPair {
  __m256i high;
  __m256i low;
};

CONTEXTPOOL_AVX2 inline WeightPair LoadWeights(const int16_t* split, int32_t t) {
  int32_t pairs[2];
  std::memcpy(pairs, split + ptrdiff_t{2} * t, sizeof(pairs));
  return {_mm256_set1_epi32(pairs[0]), _mm256_set1_epi32(pairs[1])};
}

// Four bytes, of which the next pixel overwrites the last.
CONTEXTPOOL_AVX2 inline void StorePixel(int32_t pixel, uint8_t* out) {
  std::memcpy(out, &pixel, sizeof(pixel));
}

using SourceRows = std::array<const uint8_t*, kRowGroup>;
using OutputRows = std::array<uint8_t*, kRowGroup>;

// Each register holds two rows, one in each half, of which it takes two pixels at a time: three
// lanes of four, one for each channel. kPairs: two taps each, of every output, for the compiler to
// unroll; 0: as many as there are.
template <int32_t kPairs>
CONTEXTPOOL_AVX2 void AlongBy(const SourceRows& source, const AxisFilter& filter,
                              const OutputRows& output) {
  static_assert(kRowGroup == 4);
  // Copies, so that the compiler knows that no output changes them.
  const SourceRows rows = source;
  const OutputRows out = output;
  const __m256i first_two = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
  const int32_t outputs = filter.outputs();
  for (int32_t x = 0; x < outputs; ++x) {
    const AxisFilter::Span span = filter.span(x);
    const int16_t* split = filter.split(x);
    const int32_t pairs = kPairs > 0 ? kPairs : (span.taps + 1) / 2;
    __m256i high[2], low[2];
    for (int i = 0; i < 2; ++i) high[i] = low[i] = _mm256_setzero_si256();
    for (int32_t p = 0; p < pairs; ++p) {
      const WeightPair weights = LoadWeights(split, 2 * p);
      const ptrdiff_t at = ptrdiff_t{3} * span.first + ptrdiff_t{6} * p;
      for (int i = 0; i < 2; ++i) {
        const __m256i both = LoadBoth(rows[2 * i] + at, rows[2 * i + 1] + at);
        const __m256i pixels = _mm256_shuffle_epi8(both, first_two);
        high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(pixels, weights.high));
        low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(pixels, weights.low));
      }
    }
    const __m256i values = _mm256_packs_epi32(Rounded(high[0], low[0]), Rounded(high[1], low[1]));
    const __m256i bytes = _mm256_packus_epi16(values, values);
    const __m128i lower = _mm256_castsi256_si128(bytes);
    const __m128i upper = _mm256_extracti128_si256(bytes, 1);
    StorePixel(_mm_cvtsi128_si32(lower), out[0] + ptrdiff_t{3} * x);
    StorePixel(_mm_cvtsi128_si32(upper), out[1] + ptrdiff_t{3} * x);
    StorePixel(_mm_extract_epi32(lower, 1), out[2] + ptrdiff_t{3} * x);
    StorePixel(_mm_extract_epi32(upper, 1), out[3] + ptrdiff_t{3} * x);
  }
}

// Beyond, outputs at the right edge, which have fewer taps, would read past the slack of a row.
constexpr int32_t kMostPairs = 6;
static_assert(6 * kMostPairs + 16 <= kImageSlackBytes);

void Along(const SourceRows& rows, const AxisFilter& filter, const OutputRows& out) {
  constexpr decltype(&Along) kByPairs[kMostPairs + 1] = {
      AlongBy<0>, AlongBy<1>, AlongBy<2>, AlongBy<3>, AlongBy<4>, AlongBy<5>, AlongBy<6>};
  const int32_t pairs = (filter.max_taps() + 1) / 2;
  kByPairs[pairs <= kMostPairs ? pairs : 0](rows, filter, out);
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
    const WeightPair weights = LoadWeights(split, t);
    const __m256i first = Load(rows[t] + at);
    const __m256i second = Load(rows[t + 1] + at);
    const __m256i lower = _mm256_unpacklo_epi8(first, second);
    const __m256i upper = _mm256_unpackhi_epi8(first, second);
    const __m256i pairs[4] = {_mm256_unpacklo_epi8(lower, zero), _mm256_unpackhi_epi8(lower, zero),
                              _mm256_unpacklo_epi8(upper, zero), _mm256_unpackhi_epi8(upper, zero)};
    for (int i = 0; i < 4; ++i) {
      high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(pairs[i], weights.high));
      low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(pairs[i], weights.low));
    }
  }
  __m256i values[4];
  for (int i = 0; i < 4; ++i) values[i] = Rounded(high[i], low[i]);
  return _mm256_packus_epi16(_mm256_packs_epi32(values[0], values[1]),
                             _mm256_packs_epi32(values[2], values[3]));
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

// Five pixels at a time. The byte after them is the next pixel's, and stays.
CONTEXTPOOL_AVX2 void SwapChannels(uint8_t* pixels, size_t count) {
  const __m128i swapped = _mm_setr_epi8(2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9, 14, 13, 12, 15);
  const auto at = [pixels](size_t i) { return reinterpret_cast<__m128i*>(pixels + 3 * i); };
  size_t i = 0;
  if (count >= 6) {
    // Loaded before what overlaps it is stored, or it would wait for that.
    __m128i five = _mm_loadu_si128(at(0));
    for (; i + 11 <= count; i += 5) {
      const __m128i next = _mm_loadu_si128(at(i + 5));
      _mm_storeu_si128(at(i), _mm_shuffle_epi8(five, swapped));
      five = next;
    }
    _mm_storeu_si128(at(i), _mm_shuffle_epi8(five, swapped));
    i += 5;
  }
  PlainRows().swap_channels(pixels + 3 * i, count - i);
}

constexpr RowFunctions kAvx2Rows = {Along, Across, SwapChannels};

}  // namespace

const RowFunctions& Avx2Rows() { return kAvx2Rows; }

}  // namespace contextpool::engine

#endif
