// The product of ContextPool: x of a tile of tokens on its way into shared memory, and the sums
// that a block's warps make of it.
#pragma once

#include <cstdint>

#include "kernels/cuda/context_pool_tokens.cuh"
#include "kernels/cuda/context_pool_weights.cuh"
#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

struct PoolProductTraits : PoolTile {
  static constexpr int kColumns = 128;
  static constexpr int kTileElements = kTokens * kColumns;
  // A thread copies the same chunk of every kRowStep'th token.
  static constexpr int kRowChunks = kColumns / kVector;
  static constexpr int kRowStep = kThreads / kRowChunks;
  // A warp's part of the product.
  static constexpr int kWarpRows = 32;
  static constexpr int kWarpColumns = 64;
  static_assert(kThreads / 32 * kWarpRows * kWarpColumns == kRows * kColumns);
  // Of all warps, on their way out.
  static constexpr int kStagedFloats = kThreads / 32 * 8 * 32;

  static SIMT_DEVICE int WarpRow() { return ThreadIdx().x / 64 * kWarpRows; }
  static SIMT_DEVICE int WarpColumn() { return ThreadIdx().x / 32 % 2 * kWarpColumns; }
};

// Fetches a block's columns of tiles of tokens. Tokens and columns that do not exist become zeros:
// what another sequence has there must not even be multiplied by zero, as it might be NaN.
template <typename T>
class PoolTokenFetcher {
 public:
  using Traits = PoolProductTraits;

  SIMT_DEVICE PoolTokenFetcher(const Global<const T>& x, int x_stride, const PooledTokens& tokens,
                               int first_column, int columns)
      : x_(x),
        x_stride_(x_stride),
        column_(int64_t{tokens.first} * x_stride + first_column + Chunk() * Traits::kVector),
        count_(first_column + Chunk() * Traits::kVector < columns ? tokens.count : 0),
        to_(SwizzledChunk<Traits::kColumns>(Row(), Chunk())) {}

  // A group of asynchronous copies.
  SIMT_DEVICE void Fetch(int tile, Shared<T> to) const {
    const int first = PoolTile::FirstToken(tile) + Row();
    const int64_t from = column_ + int64_t{first} * x_stride_;
    SIMT_UNROLL
    for (int step = 0; step < Traits::kTokens; step += Traits::kRowStep) {
      // The swizzle is the same every 8 tokens.
      static_assert(Traits::kRowStep % 8 == 0);
      const int token = first + step;
      CopyAsync<16>(to, to_ + step * Traits::kColumns, x_, from + int64_t{step} * x_stride_,
                    token >= 0 && token < count_ ? 16 : 0);
    }
    CopyAsyncCommit();
  }

 private:
  static SIMT_DEVICE int Row() { return ThreadIdx().x / Traits::kRowChunks; }
  static SIMT_DEVICE int Chunk() { return ThreadIdx().x % Traits::kRowChunks; }

  Global<const T> x_;
  int x_stride_;
  // Where the thread's chunk of the sequence's first pooled token is.
  int64_t column_;
  // Tokens that have such a chunk.
  int count_;
  // Where the thread's first chunk of a tile goes.
  int to_;
};

// The sums of a warp's 32 rows and 64 columns.
struct PoolSums {
  Vec<float, 4> v[2][8];
};

// What a warp multiplies. Chunks of 8 elements are swizzled as SwizzledChunk does, in the form that
// leaves one exclusive or for each two matrices.
template <typename T>
class PoolFragments {
 public:
  using Traits = PoolProductTraits;

  SIMT_DEVICE PoolFragments() {
    const int lane = ThreadIdx().x % 32;
    swizzle_ = (lane / 16 ^ lane % 8) * Traits::kVector;
    row_ = (Traits::WarpRow() + lane % 16) * Traits::kTokens;
    token_ = lane % 16 * Traits::kColumns + Traits::WarpColumn();
  }

  // sums += weights x, over a tile of tokens of which those from `first` on and below `end` exist.
  SIMT_DEVICE void Multiply(Shared<T> weights, Shared<T> x, int first, int end,
                            PoolSums& sums) const {
    SIMT_UNROLL
    for (int k = 0; k < Traits::kTokens; k += 16) {
      // Elsewhere there is nothing but zeros.
      if (k + 16 <= first || k >= end) continue;
      Vec<uint32_t, 4> a[2];
      SIMT_UNROLL
      for (int m = 0; m < 2; ++m) {
        a[m] = LoadMatrix<4>(weights, row_ + m * 16 * Traits::kTokens + (k ^ swizzle_));
      }
      SIMT_UNROLL
      for (int n = 0; n < 4; ++n) {
        const Vec<uint32_t, 4> b =
            LoadMatrixTransposed<4>(x, token_ + k * Traits::kColumns + (n * 16 ^ swizzle_));
        SIMT_UNROLL
        for (int m = 0; m < 2; ++m) {
          Mma<T>(sums.v[m][n * 2], a[m], {b[0], b[1]});
          Mma<T>(sums.v[m][n * 2 + 1], a[m], {b[2], b[3]});
        }
      }
    }
  }

 private:
  // Where the lane's matrix rows begin, and its first chunk: of the weights' row, of x's token.
  int row_;
  int token_;
  int swizzle_;
};

// A part of a warp's sums, 8 rows x 32 columns, in shared memory. Lane l stores what it has of row
// l / 4 and loads 8 neighbours of that row, in two halves. Vectors of 4 are swizzled so that
// neither has bank conflicts.
struct PoolPart {
  static constexpr int kRows = 8;
  static constexpr int kColumns = 32;
  static constexpr int kFloats = kRows * kColumns;

  static SIMT_DEVICE int Vector(int row, int vector) {
    return row * kColumns + (vector ^ (row % 4 * 2 + row % 2)) * 4;
  }
  // Rows from `row` on, a multiple of kRows, and columns from `part` kColumns on.
  static SIMT_DEVICE void Store(const PoolSums& sums, int row, int part, Shared<float> staged) {
    const int lane = ThreadIdx().x % 32;
    SIMT_UNROLL
    for (int n = 0; n < 4; ++n) {
      const Vec<float, 4>& v = sums.v[row / 16][part * 4 + n];
      const int column = n * 8 + lane % 4 * 2;
      staged.StoreVec<2>(Vector(lane / 4, column / 4) + column % 4,
                         {v[row / 8 % 2 * 2], v[row / 8 % 2 * 2 + 1]});
    }
  }
  static SIMT_DEVICE Vec<float, 4> Load(Shared<const float> staged, int half) {
    const int lane = ThreadIdx().x % 32;
    return staged.LoadVec<4>(Vector(lane / 4, lane % 4 * 2 + half));
  }
};

}  // namespace contextpool::kernels::SIMT_BACKEND
