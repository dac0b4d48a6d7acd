// One task per sequence and head. Keys are packed to panels of 16 columns and values to panels of
// 16 dimensions, then blocks of query rows pass through: scores, softmax and the weighted sum all
// happen in a buffer that stays in the cache.

#include <algorithm>
#include <limits>
#include <numbers>

#include "kernels/cpu/attention_scratch.h"
#include "kernels/cpu/avx2/math.h"
#include "kernels/cpu/avx2/tile.h"
#include "kernels/cpu/ops.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

constexpr int64_t kWidth = AttentionScratch::kWidth;
// Rows of scores at a time: four tiles share each panel of keys while it is in the cache.
constexpr int64_t kBlockRows = AttentionScratch::kBlockRows;
static_assert(kBlockRows % kTileRows == 0);

// One head of one sequence. Rows of q, k and v are `stride` floats apart.
struct Head {
  const float* q;
  const float* k;
  const float* v;
  float* out;
  int64_t stride;
  int64_t out_stride;
  int64_t length;
  int64_t size;
  float scale;
};

void Transpose8(const float* from, int64_t stride, float* to) {
  __m256 r[8], t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(from + i * stride);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(to + i * kWidth, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(to + (i + 4) * kWidth, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

// k [length, size] to [length / 16, size, 16]; keys beyond the sequence are zeros.
void PackKeys(const Head& head, float* packed) {
  for (int64_t key = 0; key < head.length; key += 8) {
    const int64_t keys = std::min<int64_t>(8, head.length - key);
    float* panel = packed + key / kWidth * kWidth * head.size + key % kWidth;
    const float* from = head.k + key * head.stride;
    int64_t d = 0;
    if (keys == 8) {
      for (; d + 8 <= head.size; d += 8) Transpose8(from + d, head.stride, panel + d * kWidth);
    }
    for (; d < head.size; ++d) {
      for (int64_t j = 0; j < 8; ++j) {
        panel[d * kWidth + j] = j < keys ? from[j * head.stride + d] : 0.0f;
      }
    }
  }
  const int64_t begun = (head.length + 7) / 8 * 8;
  if (begun % kWidth == 0) return;
  float* panel = packed + begun / kWidth * kWidth * head.size + 8;
  for (int64_t d = 0; d < head.size; ++d) _mm256_storeu_ps(panel + d * kWidth, _mm256_setzero_ps());
}

// v [length, size] to [size / 16, length, 16]; dimensions beyond the head are zeros.
void PackValues(const Head& head, float* packed) {
  for (int64_t d = 0; d < head.size; d += kWidth) {
    const PairLanes lanes(head.size - d);
    float* to = packed + d * head.length;
    for (int64_t i = 0; i < head.length; ++i, to += kWidth) {
      __m256 v[2];
      lanes.Load(head.v + i * head.stride + d, v);
      _mm256_storeu_ps(to, v[0]);
      _mm256_storeu_ps(to + 8, v[1]);
    }
  }
}

// scores [rows, length rounded up to 16] = q K^T of the rows from `row` on.
void Scores(const Head& head, const float* keys, int64_t row, int64_t rows, float* scores,
            int64_t scores_stride) {
  for (int64_t key = 0; key < head.length; key += kWidth) {
    for (int64_t i = 0; i < rows; i += kTileRows) {
      WithRows(std::min<int64_t>(kTileRows, rows - i), [&]<int kRows> {
        __m256 acc[kRows][2] = {};
        MultiplyAdd<kRows>(head.q + (row + i) * head.stride, head.stride, keys + key * head.size,
                           kWidth, head.size, acc);
        for (int r = 0; r < kRows; ++r) {
          float* to = scores + (i + r) * scores_stride + key;
          _mm256_storeu_ps(to, acc[r][0]);
          _mm256_storeu_ps(to + 8, acc[r][1]);
        }
      });
    }
  }
}

// Replaces a row of scores by exp(scale (score - maximum)); returns 1 / their sum.
float SoftmaxRow(float* row, int64_t length, float scale) {
  const __m256i tail = LaneMask(length % 8);
  const int64_t whole = length / 8 * 8;
  __m256 peak = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < whole; i += 8) peak = _mm256_max_ps(peak, _mm256_loadu_ps(row + i));
  if (whole < length) {
    const __m256 last = _mm256_loadu_ps(row + whole);
    peak = _mm256_max_ps(peak, _mm256_blendv_ps(peak, last, _mm256_castsi256_ps(tail)));
  }
  const __m256 maximum = _mm256_set1_ps(Max(peak));
  // exp(x) = 2^(x log2 e).
  const __m256 factor = _mm256_set1_ps(scale * std::numbers::log2e_v<float>);
  const auto weigh = [&](int64_t i) {
    const __m256 below = _mm256_sub_ps(_mm256_loadu_ps(row + i), maximum);
    return Exp2(_mm256_mul_ps(below, factor));
  };
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < whole; i += 8) {
    const __m256 weight = weigh(i);
    sum = _mm256_add_ps(sum, weight);
    _mm256_storeu_ps(row + i, weight);
  }
  if (whole < length) {
    const __m256 weight = _mm256_and_ps(weigh(whole), _mm256_castsi256_ps(tail));
    sum = _mm256_add_ps(sum, weight);
    _mm256_storeu_ps(row + whole, weight);
  }
  return 1.0f / Sum(sum);
}

// out = (weights V) * inverse_sums for `rows` rows from `row` on.
void WeightedSums(const Head& head, const float* values, int64_t row, int64_t rows,
                  const float* weights, int64_t weights_stride, const float* inverse_sums) {
  for (int64_t d = 0; d < head.size; d += kWidth) {
    const PairLanes lanes(head.size - d);
    for (int64_t i = 0; i < rows; i += kTileRows) {
      WithRows(std::min<int64_t>(kTileRows, rows - i), [&]<int kRows> {
        __m256 acc[kRows][2] = {};
        MultiplyAdd<kRows>(weights + i * weights_stride, weights_stride, values + d * head.length,
                           kWidth, head.length, acc);
        for (int r = 0; r < kRows; ++r) {
          const __m256 inverse = _mm256_set1_ps(inverse_sums[i + r]);
          lanes.Store(head.out + (row + i + r) * head.out_stride + d,
                      _mm256_mul_ps(acc[r][0], inverse), _mm256_mul_ps(acc[r][1], inverse));
        }
      });
    }
  }
}

void RunHead(const Head& head, const AttentionScratch& scratch) {
  PackKeys(head, scratch.keys);
  PackValues(head, scratch.values);
  const int64_t stride = (head.length + kWidth - 1) / kWidth * kWidth;
  for (int64_t row = 0; row < head.length; row += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, head.length - row);
    Scores(head, scratch.keys, row, rows, scratch.scores, stride);
    float inverse_sums[kBlockRows];
    for (int64_t i = 0; i < rows; ++i) {
      inverse_sums[i] = SoftmaxRow(scratch.scores + i * stride, head.length, head.scale);
    }
    WeightedSums(head, scratch.values, row, rows, scratch.scores, stride, inverse_sums);
  }
}

}  // namespace

void Attention(const AttentionParams& p, CpuStream& stream) {
  const int64_t width = p.heads * p.head_size;
  stream.ParallelFor(p.sequences * p.heads, [&](int64_t task, int thread) {
    const int64_t begin = p.cu_lengths[task / p.heads];
    const int64_t column = task % p.heads * p.head_size;
    const float* q = static_cast<const float*>(p.qkv) + begin * 3 * width + column;
    const Head head = {.q = q,
                       .k = q + width,
                       .v = q + 2 * width,
                       .out = static_cast<float*>(p.out) + begin * width + column,
                       .stride = 3 * width,
                       .out_stride = width,
                       .length = p.cu_lengths[task / p.heads + 1] - begin,
                       .size = p.head_size,
                       .scale = p.scale};
    RunHead(head, AttentionScratch(p.workspace, p.max_length, p.head_size, thread));
  });
}

}  // namespace contextpool::kernels::cpu::avx2
