// What one warp computes of attention: rows of queries against a tile of keys and values in shared
// memory, with the running softmax of FlashAttention-2 (Dao, 2023).
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/swizzle.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// What a head has of each token: `count` rows, `stride` elements apart.
template <typename T>
struct HeadRows {
  Global<T> data;
  int stride;
  int count;
};

// `kThreads` threads copy rows from number `first` on to a tile of kRows, and zeros after the last
// row. What lies beyond a sequence's end is not read, whatever it holds.
template <int kThreads, int kRows, int kHeadSize, typename T>
SIMT_DEVICE void CopyRows(Shared<T> to, const HeadRows<const T>& from, int first, int thread) {
  constexpr int kChunks = kHeadSize / 8;
  constexpr int kRowStep = kThreads / kChunks;
  const int row = thread / kChunks;
  const int chunk = thread % kChunks;
  // Of the rows that exist, behind the thread's first one.
  const int count = from.count - first - row;
  const int64_t begin = int64_t{first + row} * from.stride + chunk * 8;
  SIMT_UNROLL
  for (int step = 0; step < kRows; step += kRowStep) {
    CopyAsync<16>(to, Swizzled<kHeadSize>(row + step, chunk), from.data,
                  begin + int64_t{step} * from.stride, step < count ? 16 : 0);
  }
}

// What a warp keeps of 16 kMTiles queries while tiles of keys pass by. A lane holds parts of the
// rows lane / 4 (half 0) and lane / 4 + 8 (half 1) of each 16.
template <int kHeadSize, int kMTiles>
struct AttentionRows {
  // The largest exponent so far, the same in the four lanes of a row.
  float shift[kMTiles][2];
  // The weights' sum, as another column of `out`: that of values which are all 1. So it sums the
  // weights as rounded for the product, and values that agree come out unchanged.
  Vec<float, 4> sum[kMTiles];
  Vec<float, 4> out[kMTiles][kHeadSize / 8];
};

template <int kHeadSize, int kMTiles>
SIMT_DEVICE void Clear(AttentionRows<kHeadSize, kMTiles>& rows) {
  SIMT_UNROLL
  for (int m = 0; m < kMTiles; ++m) {
    rows.shift[m][0] = rows.shift[m][1] = -INFINITY;
    rows.sum[m] = {};
    SIMT_UNROLL
    for (int n = 0; n < kHeadSize / 8; ++n) rows.out[m][n] = {};
  }
}

// In shared memory.
template <typename T>
struct KeyTile {
  Shared<T> keys;
  Shared<T> values;
  // Of the sequence from the tile's first key on: may be more than the tile holds.
  int count;
};

// scores = q k^T; query(m, k) is the fragment of 16 queries and 16 dimensions. Of a kPartial
// tile, 16s of keys that do not exist are left out.
template <typename T, bool kPartial, int kHeadSize, int kMTiles, int kTiles, typename Query>
SIMT_DEVICE void ComputeScores(Vec<float, 4> (&scores)[kMTiles][kTiles], const Query& query,
                               const KeyTile<T>& tile) {
  const LanePlace<kHeadSize> place = ColumnsPlace<kHeadSize>();
  SIMT_UNROLL
  for (int k = 0; k < kHeadSize / 16; ++k) {
    Vec<uint32_t, 4> q[kMTiles];
    SIMT_UNROLL
    for (int m = 0; m < kMTiles; ++m) q[m] = query(m, k);
    SIMT_UNROLL
    for (int n = 0; n < kTiles / 2; ++n) {
      if (kPartial && n * 16 >= tile.count) continue;
      const Vec<uint32_t, 4> b = LoadMatrix<4>(tile.keys, place(n * 16, k * 2));
      SIMT_UNROLL
      for (int m = 0; m < kMTiles; ++m) {
        Mma<T>(scores[m][2 * n], q[m], {b[0], b[1]});
        Mma<T>(scores[m][2 * n + 1], q[m], {b[2], b[3]});
      }
    }
  }
}

// Keys from `count` on get weight 0.
template <int kMTiles, int kTiles>
SIMT_DEVICE void MaskScores(Vec<float, 4> (&scores)[kMTiles][kTiles], int count) {
  const int lane = ThreadIdx().x % 32;
  SIMT_UNROLL
  for (int m = 0; m < kMTiles; ++m) {
    SIMT_UNROLL
    for (int n = 0; n < kTiles; ++n) {
      SIMT_UNROLL
      for (int i = 0; i < 4; ++i) {
        if (n * 8 + lane % 4 * 2 + i % 2 >= count) scores[m][n][i] = -INFINITY;
      }
    }
  }
}

// Scores of half `half` of 16 rows become weights 2^(score * exponent_scale - shift). Returns the
// factor for what was summed with the shift so far. fmaxf passes over NaN, which stays in the
// weight and so in its row. The product is fused by name: the compiler's choice could differ
// between kernels, and with it a sequence's result between batches.
template <int kTiles>
SIMT_DEVICE float ComputeWeights(Vec<float, 4> (&scores)[kTiles], int half, float exponent_scale,
                                 float& shift) {
  float largest = -INFINITY;
  SIMT_UNROLL
  for (int n = 0; n < kTiles; ++n) {
    largest = fmaxf(largest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
  }
  largest = fmaxf(largest, ShuffleXor(largest, 1));
  largest = fmaxf(largest, ShuffleXor(largest, 2));
  const float old_shift = shift;
  shift = fmaxf(old_shift, largest * exponent_scale);
  SIMT_UNROLL
  for (int n = 0; n < kTiles; ++n) {
    SIMT_UNROLL
    for (int i = 2 * half; i < 2 * half + 2; ++i) {
      scores[n][i] = Exp2(fmaf(scores[n][i], exponent_scale, -shift));
    }
  }
  return Exp2(old_shift - shift);
}

// Multiplies what was summed for number `m` of 16 rows, by a factor for each half of them; if none
// is another one than 1, nothing is to be done, which is so for most tiles but a sequence's first.
template <int kHeadSize, int kMTiles>
SIMT_DEVICE void Rescale(AttentionRows<kHeadSize, kMTiles>& rows, int m, const float (&factor)[2]) {
  if (!Any(factor[0] != 1 || factor[1] != 1)) return;
  SIMT_UNROLL
  for (int i = 0; i < 4; ++i) {
    rows.sum[m][i] *= factor[i / 2];
    SIMT_UNROLL
    for (int n = 0; n < kHeadSize / 8; ++n) rows.out[m][n][i] *= factor[i / 2];
  }
}

// Scores to weights; what was summed so far is brought to the new shift. kFirst: nothing was.
template <bool kFirst, int kHeadSize, int kMTiles, int kTiles>
SIMT_DEVICE void UpdateShift(AttentionRows<kHeadSize, kMTiles>& rows,
                             Vec<float, 4> (&scores)[kMTiles][kTiles], float exponent_scale) {
  SIMT_UNROLL
  for (int m = 0; m < kMTiles; ++m) {
    float factor[2];
    SIMT_UNROLL
    for (int half = 0; half < 2; ++half) {
      factor[half] = ComputeWeights(scores[m], half, exponent_scale, rows.shift[m][half]);
    }
    if constexpr (!kFirst) Rescale(rows, m, factor);
  }
}

// out += weights v, sum += weights.
template <typename T, bool kPartial, int kHeadSize, int kMTiles, int kTiles>
SIMT_DEVICE void AddWeighted(AttentionRows<kHeadSize, kMTiles>& rows,
                             const Vec<float, 4> (&weights)[kMTiles][kTiles],
                             const KeyTile<T>& tile) {
  const LanePlace<kHeadSize> place = RowsPlace<kHeadSize>();
  const uint32_t ones = Pack<T>(1, 1);
  SIMT_UNROLL
  for (int k = 0; k < kTiles / 2; ++k) {
    if (kPartial && k * 16 >= tile.count) continue;
    Vec<uint32_t, 4> p[kMTiles];
    SIMT_UNROLL
    for (int m = 0; m < kMTiles; ++m) {
      // The layout of sums over 16 columns is that of a left factor.
      SIMT_UNROLL
      for (int i = 0; i < 4; ++i) {
        const Vec<float, 4>& w = weights[m][2 * k + i / 2];
        p[m][i] = Pack<T>(w[i % 2 * 2], w[i % 2 * 2 + 1]);
      }
      Mma<T>(rows.sum[m], p[m], {ones, ones});
    }
    SIMT_UNROLL
    for (int n = 0; n < kHeadSize / 16; ++n) {
      const Vec<uint32_t, 4> b = LoadMatrixTransposed<4>(tile.values, place(k * 16, n * 2));
      SIMT_UNROLL
      for (int m = 0; m < kMTiles; ++m) {
        Mma<T>(rows.out[m][2 * n], p[m], {b[0], b[1]});
        Mma<T>(rows.out[m][2 * n + 1], p[m], {b[2], b[3]});
      }
    }
  }
}

// Takes in kKeys keys and values. kPartial: those beyond `count` do not exist. kFirst: none before.
// What comes out for a row does not depend on kMTiles, nor on how many of kKeys do not exist.
template <typename T, bool kPartial, bool kFirst, int kKeys, int kHeadSize, int kMTiles,
          typename Query>
SIMT_DEVICE void AddKeys(AttentionRows<kHeadSize, kMTiles>& rows, const Query& query,
                         const KeyTile<T>& tile, float exponent_scale) {
  Vec<float, 4> scores[kMTiles][kKeys / 8] = {};
  ComputeScores<T, kPartial, kHeadSize>(scores, query, tile);
  if (kPartial) MaskScores(scores, tile.count);
  UpdateShift<kFirst>(rows, scores, exponent_scale);
  AddWeighted<T, kPartial>(rows, scores, tile);
}

// Divides by the sums and writes rows from number `first` on, those that exist, by way of shared
// memory for 16 kMTiles rows that is the warp's own.
template <typename T, int kHeadSize, int kMTiles>
SIMT_DEVICE void StoreRows(const AttentionRows<kHeadSize, kMTiles>& rows, Shared<T> tile,
                           const HeadRows<T>& out, int first) {
  const int lane = ThreadIdx().x % 32;
  SIMT_UNROLL
  for (int m = 0; m < kMTiles; ++m) {
    const float scale[2] = {1 / rows.sum[m][0], 1 / rows.sum[m][2]};
    SIMT_UNROLL
    for (int n = 0; n < kHeadSize / 16; ++n) {
      Vec<uint32_t, 4> fragment;
      SIMT_UNROLL
      for (int i = 0; i < 4; ++i) {
        const Vec<float, 4>& sums = rows.out[m][2 * n + i / 2];
        const int half = i % 2;
        fragment[i] = Pack<T>(sums[2 * half] * scale[half], sums[2 * half + 1] * scale[half]);
      }
      StoreMatrix(tile, RowsPlace<kHeadSize>()(m * 16, n * 2), fragment);
    }
  }
  SyncWarp();
  constexpr int kChunks = kHeadSize / 8;
  SIMT_UNROLL
  for (int i = 0; i < 16 * kMTiles * kChunks; i += 32) {
    const int row = (i + lane) / kChunks;
    const int chunk = (i + lane) % kChunks;
    if (first + row >= out.count) continue;
    out.data.StoreVec(int64_t{first + row} * out.stride + chunk * 8,
                      tile.template LoadVec<8>(Swizzled<kHeadSize>(row, chunk)));
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
