// What passes by a block of ContextPool: x in stages of 32 tokens and 128 columns, and the sums
// that its warps make of it.
#pragma once

#include <cstdint>

#include "kernels/cuda/context_pool_weights.cuh"
#include "kernels/cuda/pooled_tokens.cuh"
#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

struct PoolStageTraits : PoolTile {
  static constexpr int kColumns = 128;
  static constexpr int kStageTokens = 32;
  static constexpr int kStageElements = kStageTokens * kColumns;
  // All but one of which are on their way while that one is multiplied.
  static constexpr int kStages = 4;
  static_assert((kStages & (kStages - 1)) == 0);
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

// The x of a range of tokens, again and again for all columns of a block. Tokens and columns that
// do not exist become zeros: what another sequence has there must not even be multiplied by zero,
// as it might be NaN.
template <typename T>
class PoolStages {
 public:
  using Traits = PoolStageTraits;

  // Begins to fetch the first stages.
  SIMT_DEVICE PoolStages(Shared<T> buffers, const Global<const T>& x, int x_stride,
                         const PooledTokens& tokens, PoolRange range, int first_column,
                         int end_column)
      : buffers_(buffers),
        x_(x.Slice(int64_t{tokens.first} * x_stride,
                   int64_t{tokens.count - 1} * x_stride + end_column)),
        x_stride_(x_stride),
        first_token_(range.first * Traits::kTokens),
        end_token_(range.end * Traits::kTokens < tokens.count ? range.end * Traits::kTokens
                                                              : tokens.count),
        end_column_(end_column),
        to_(SwizzledChunk<Traits::kColumns>(Row(), Column() / Traits::kVector)) {
    Begin(first_column);
    for (int i = 0; i < Traits::kStages - 1; ++i) Fetch();
  }

  // Stages of the tokens before a tile.
  SIMT_DEVICE int CountBefore(int tile) const {
    const int behind = tile * Traits::kTokens;
    const int end = behind < end_token_ ? behind : end_token_;
    return (end + Traits::kStageTokens - 1) / Traits::kStageTokens;
  }
  // Tokens from the beginning of stage `stage` behind that of a tile on.
  SIMT_DEVICE int TokensOf(int tile, int stage) const {
    return end_token_ - tile * Traits::kTokens - stage * Traits::kStageTokens;
  }

  // The next stage, complete; everything that was stored to shared memory before is visible too.
  // Nobody may use the stage before it any more.
  SIMT_DEVICE Shared<T> Next() {
    CopyAsyncWait<Traits::kStages - 2>();
    SyncThreads();
    Fetch();
    // What was just fetched follows kStages - 1 others.
    return Buffer(fetched_ % Traits::kStages);
  }

 private:
  // What the calling thread copies of a stage: of the tokens from Row() on, every kRowStep'th one,
  // the chunk at Column().
  static SIMT_DEVICE int Row() { return ThreadIdx().x / Traits::kRowChunks; }
  static SIMT_DEVICE int Column() { return ThreadIdx().x % Traits::kRowChunks * Traits::kVector; }

  SIMT_DEVICE Shared<T> Buffer(int i) const {
    return buffers_.Slice(i * Traits::kStageElements, Traits::kStageElements);
  }

  // The stages of the columns from `column` on are next.
  SIMT_DEVICE void Begin(int column) {
    column_ = column;
    token_ = first_token_;
    // A column that does not exist has no tokens.
    end_ = column + Column() < end_column_ ? end_token_ - Row() : 0;
  }

  SIMT_DEVICE void Fetch() {
    if (column_ < end_column_) Copy(Buffer(fetched_ % Traits::kStages));
    CopyAsyncCommit();
    ++fetched_;
  }

  SIMT_DEVICE void Copy(Shared<T> to) {
    const int64_t from = int64_t{token_ + Row()} * x_stride_ + (column_ + Column());
    SIMT_UNROLL
    for (int step = 0; step < Traits::kStageTokens; step += Traits::kRowStep) {
      // The swizzle is the same every 8 tokens.
      static_assert(Traits::kRowStep % 8 == 0);
      CopyAsync<16>(to, to_ + step * Traits::kColumns, x_, from + int64_t{step} * x_stride_,
                    token_ + step < end_ ? 16 : 0);
    }
    token_ += Traits::kStageTokens;
    if (token_ >= end_token_) Begin(column_ + Traits::kColumns);
  }

  Shared<T> buffers_;
  // Of the sequence's pooled tokens.
  Global<const T> x_;
  int x_stride_;
  int first_token_;
  int end_token_;
  int end_column_;
  // Where the thread's first chunk of a stage goes.
  int to_;
  // What is fetched next, into the buffer of number `fetched_`: from `token_` on, of which the
  // thread's chunks exist below `end_`.
  int column_;
  int token_;
  int end_;
  int fetched_ = 0;
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
  using Traits = PoolStageTraits;

  SIMT_DEVICE PoolFragments() {
    const int lane = ThreadIdx().x % 32;
    swizzle_ = (lane / 16 ^ lane % 8) * Traits::kVector;
    row_ = (Traits::WarpRow() + lane % 16) * Traits::kTokens;
    token_ = lane % 16 * Traits::kColumns + Traits::WarpColumn();
  }

  // sums += weights x, over the stage number `stage` of a panel of weights; `count` tokens of it
  // and of those behind it exist.
  SIMT_DEVICE void Multiply(Shared<T> weights, int stage, Shared<T> x, int count,
                            PoolSums& sums) const {
    constexpr int kTileStages = Traits::kTokens / Traits::kStageTokens;
    const int tile = stage / kTileStages * Traits::kElements + row_;
    const int chunk = stage % kTileStages * Traits::kStageTokens ^ swizzle_;
    SIMT_UNROLL
    for (int k = 0; k < Traits::kStageTokens; k += 16) {
      // Behind the last token there is nothing but zeros.
      if (k >= count) break;
      Vec<uint32_t, 4> a[2];
      SIMT_UNROLL
      for (int m = 0; m < 2; ++m) {
        a[m] = LoadMatrix<4>(weights, tile + m * 16 * Traits::kTokens + (chunk ^ k));
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
