// The product of ContextPool: x of a tile of tokens on its way into shared memory, and the sums
// that a block's warps make of it.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/context_pool_tokens.cuh"
#include "kernels/cuda/context_pool_weights.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/swizzle.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

struct PoolProductTraits : PoolTile {
  static constexpr int kColumns = 128;
  static constexpr int kTileElements = kTokens * kColumns;
  // A thread copies the same chunk of every kRowStep'th token.
  static constexpr int kRowChunks = kColumns / kVector;
  static constexpr int kRowStep = kThreads / kRowChunks;
  // A warp makes all columns of its rows.
  static constexpr int kWarpRows = 16;
  static_assert(kThreads / 32 * kWarpRows == kRows);

  static SIMT_DEVICE int WarpRow() { return ThreadIdx().x / 32 * kWarpRows; }
};

// Fetches a block's columns of tiles of tokens, and these tokens' log weights. Tokens and columns
// that do not exist become zeros: what another sequence has there must not even be multiplied by
// zero, as it might be NaN.
template <typename T>
class PoolTokenFetcher {
 public:
  using Traits = PoolProductTraits;

  SIMT_DEVICE PoolTokenFetcher(const Global<const T>& x, int x_stride,
                               const PoolWeightsInput& input, int first_column, int columns)
      : x_(x),
        log_weight_(input.log_weight),
        x_stride_(x_stride),
        first_token_(input.tokens.first),
        count_(input.tokens.count),
        column_(first_column + Chunk() * Traits::kVector),
        columns_(columns),
        to_(Swizzled<Traits::kColumns>(Row(), Chunk())) {}

  // From token `first` of the sequence on; a group of asynchronous copies.
  SIMT_DEVICE void Fetch(int first, Shared<T> to, Shared<float> log_weights) const {
    const int row = first + Row();
    const int count = column_ < columns_ ? count_ : 0;
    const int64_t from = (int64_t{first_token_} + row) * x_stride_ + column_;
    SIMT_UNROLL
    for (int step = 0; step < Traits::kTokens; step += Traits::kRowStep) {
      const int token = row + step;
      // The swizzle is the same every 8 tokens.
      CopyAsync<16>(to, (to_ ^ step % 8 * Traits::kVector) + step * Traits::kColumns, x_,
                    from + int64_t{step} * x_stride_, token >= 0 && token < count ? 16 : 0);
    }
    const int thread = ThreadIdx().x;
    if (thread < Traits::kTokens) {
      const int token = first + thread;
      // A token that does not exist gets the weight 0.
      if (token >= 0 && token < count_) {
        CopyAsync<4>(log_weights, thread, log_weight_, int64_t{first_token_} + token);
      } else {
        log_weights.Store(thread, -INFINITY);
      }
    }
  }

 private:
  static SIMT_DEVICE int Row() { return ThreadIdx().x / Traits::kRowChunks; }
  static SIMT_DEVICE int Chunk() { return ThreadIdx().x % Traits::kRowChunks; }

  Global<const T> x_;
  Global<const float> log_weight_;
  int x_stride_;
  int first_token_;
  // Pooled tokens.
  int count_;
  // The thread's.
  int column_;
  int columns_;
  // Where the thread's first chunk of a tile goes.
  int to_;
};

// The sums of a warp's 16 rows: of all columns, and of the weights, which are as the sums of a
// column that is all 1. So weights are summed as rounded, and a constant comes out unchanged.
struct PoolSums {
  Vec<float, 4> v[PoolProductTraits::kColumns / 8];
  Vec<float, 4> weights;
};

// sums += weights x, over the tile of tokens from `first` on.
template <typename T, bool kGrid>
SIMT_DEVICE void MultiplyTile(const PooledTokens& tokens, int first, const PoolRows& rows,
                              Shared<const float> log_weights, Shared<T> x, PoolSums& sums) {
  using Traits = PoolProductTraits;
  const auto place = RowsPlace<Traits::kColumns>();
  const uint32_t ones = Pack<T>(1, 1);
  SIMT_NO_UNROLL
  for (int k = 0; k < Traits::kTokens; k += 16) {
    if (first + k + 16 <= 0 || first + k >= tokens.count) continue;
    Vec<uint32_t, 4> weights;
    if (!MakeWeights<T, kGrid>(tokens, first + k, rows, log_weights, k, weights)) continue;
    Mma<T>(sums.weights, weights, {ones, ones});
    SIMT_UNROLL
    for (int n = 0; n < Traits::kColumns / 16; ++n) {
      const Vec<uint32_t, 4> b = LoadMatrixTransposed<4>(x, place(k, n * 2));
      Mma<T>(sums.v[n * 2], weights, {b[0], b[1]});
      Mma<T>(sums.v[n * 2 + 1], weights, {b[2], b[3]});
    }
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
