// A small matrix product that uses what real kernels use: cp.async with zero fill, double
// buffering, an XOR swizzle, ldmatrix and mma. Each fault breaks it in one place.
#pragma once

#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

enum class TileFault {
  kNone,
  // The buffer is read as soon as the own copies are done.
  kMissingBarrier,
  // The next copy starts while others still read the buffer.
  kMissingSecondBarrier,
  kMissingWait,
  // Waits for the group before the one that is needed.
  kWaitTooShort,
  // Fragments are read as if the tile were not swizzled.
  kWrongSwizzle,
  // Neither written nor read with a swizzle: right, but slow.
  kNoSwizzle,
};

// out [rows, columns] = a [rows, depth] b [depth, columns]. REQUIRES: columns and depth are
// multiples of 64.
template <typename T>
struct TileProductArgs {
  Global<const T> a;
  Global<const T> b;
  Global<float> out;
  int rows;
  int columns;
  int depth;
};

constexpr int kTile = 64;
constexpr int kTileThreads = 128;
constexpr int kTileSharedBytes = 4 * kTile * kTile * 2;

// Chunks of 8 elements: element (row, 8 chunk) of a tile, its chunks permuted within each row so
// that 8 rows of one column lie in different banks.
template <TileFault kFault>
SIMT_DEVICE int Swizzled(int row, int chunk, bool reads) {
  if (kFault == TileFault::kNoSwizzle || (kFault == TileFault::kWrongSwizzle && reads)) {
    return row * kTile + chunk * 8;
  }
  return row * kTile + (chunk ^ row % 8) * 8;
}

// Rows from `limit` on become zero.
template <typename T, TileFault kFault>
SIMT_DEVICE void CopyTile(Shared<T> to, Global<const T> from, int64_t first, int stride,
                          int limit) {
  for (int e = ThreadIdx().x; e < kTile * kTile / 8; e += kTileThreads) {
    const int row = e / 8;
    const int chunk = e % 8;
    const bool exists = row < limit;
    CopyAsync<16>(to, Swizzled<kFault>(row, chunk, /*reads=*/false), from,
                  exists ? first + int64_t{row} * stride + chunk * 8 : 0, exists ? 16 : 0);
  }
}

// The sum over one tile, into this warp's 32 x 32 part.
template <typename T, TileFault kFault>
SIMT_DEVICE void AddTile(Vec<float, 4> (&sums)[2][4], Shared<T> a, Shared<T> b, int warp,
                         int lane) {
  const int row = warp / 2 * 32;
  const int column = warp % 2 * 32;
  SIMT_UNROLL
  for (int k = 0; k < kTile; k += 16) {
    Vec<uint32_t, 4> af[2];
    SIMT_UNROLL
    for (int m = 0; m < 2; ++m) {
      af[m] = LoadMatrix<4>(
          a, Swizzled<kFault>(row + m * 16 + lane % 16, k / 8 + lane / 16, /*reads=*/true));
    }
    SIMT_UNROLL
    for (int n = 0; n < 2; ++n) {
      const Vec<uint32_t, 4> bf = LoadMatrixTransposed<4>(
          b, Swizzled<kFault>(k + lane % 16, column / 8 + n * 2 + lane / 16, /*reads=*/true));
      SIMT_UNROLL
      for (int m = 0; m < 2; ++m) {
        Mma<T>(sums[m][n * 2], af[m], {bf[0], bf[1]});
        Mma<T>(sums[m][n * 2 + 1], af[m], {bf[2], bf[3]});
      }
    }
  }
}

template <typename T, TileFault kFault>
SIMT_KERNEL(kTileThreads, 4)
void TileProduct(TileProductArgs<T> args) {
  const int lane = ThreadIdx().x % 32;
  const int warp = ThreadIdx().x / 32;
  const int first_row = BlockIdx().y * kTile;
  const int first_column = BlockIdx().x * kTile;
  SharedPool pool;
  const Shared<T> a = pool.Take<T>(2 * kTile * kTile, 128);
  const Shared<T> b = pool.Take<T>(2 * kTile * kTile, 128);
  const auto half = [](Shared<T> buffers, int i) {
    return buffers.Slice(i * kTile * kTile, kTile * kTile);
  };
  const auto copy = [&](int k, int i) {
    CopyTile<T, kFault>(half(a, i), args.a, int64_t{first_row} * args.depth + k, args.depth,
                        args.rows - first_row);
    CopyTile<T, kFault>(half(b, i), args.b, int64_t{k} * args.columns + first_column, args.columns,
                        kTile);
    CopyAsyncCommit();
  };

  Vec<float, 4> sums[2][4] = {};
  copy(0, 0);
  for (int k = 0; k < args.depth; k += kTile) {
    const int i = k / kTile % 2;
    const bool has_next = k + kTile < args.depth;
    if (has_next) copy(k + kTile, 1 - i);
    if (kFault != TileFault::kMissingWait) {
      if (has_next || kFault == TileFault::kWaitTooShort) {
        CopyAsyncWait<1>();
      } else {
        CopyAsyncWait<0>();
      }
    }
    if (kFault != TileFault::kMissingBarrier) SyncThreads();
    AddTile<T, kFault>(sums, half(a, i), half(b, i), warp, lane);
    if (kFault != TileFault::kMissingSecondBarrier) SyncThreads();
  }

  SIMT_UNROLL
  for (int part = 0; part < 16; ++part) {
    const int m = part / 8;
    const int n = part / 2 % 4;
    const int row = first_row + warp / 2 * 32 + m * 16 + part % 2 * 8 + lane / 4;
    const int column = first_column + warp % 2 * 32 + n * 8 + lane % 4 * 2;
    if (row >= args.rows) continue;
    args.out.template StoreVec<2>(int64_t{row} * args.columns + column,
                                  {sums[m][n][part % 2 * 2], sums[m][n][part % 2 * 2 + 1]});
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
