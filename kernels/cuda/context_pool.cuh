// ContextPool: y_i = sum_j p_ij x_j / Z_i as a matrix product on tensor cores.
//
// A block makes 64 rows of 128 columns, each of its warps 16. It walks over those tiles of 64
// tokens whose weights matter; their x comes by cp.async while the tiles before are multiplied.
// Each warp makes the weights of its rows in registers. The two tiles around the rows always
// matter; they are on their way before the block knows which others do.
// docs/kernels/context_pool.md.
#pragma once

#include <cstdint>

#include "kernels/context_pool.h"
#include "kernels/cuda/context_pool_product.cuh"
#include "kernels/cuda/context_pool_weights.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/sequence_tiles.cuh"
#include "kernels/cuda/swizzle.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct ContextPoolArgs {
  Global<const T> x;
  // The same in pairs, as the result is.
  Global<const uint32_t> x_pairs;
  Global<const float> log_weight;
  Global<const float> support_size;
  Global<const int32_t> cu_lengths;
  Global<uint32_t> out_pairs;
  // The two numbers of ContextPoolTiles; null: not counted.
  Global<int64_t> tiles;
  PoolNormalization normalization;
  PoolResidual residual;
  float gate;
  float skip_bits;
  int sequences;
  int prefix;
  int grid_width;
  // Tiles of tokens that the longest sequence can have.
  int max_tiles;
  int columns;
  int x_stride;
  int out_stride;
};

struct ContextPoolTraits : PoolProductTraits {
  static constexpr int kBuffers = 3;
  // That share a processor: as many as shared memory and registers let.
  static constexpr int kBlocks = 4;

  static constexpr size_t SharedBytes(int max_tiles) {
    return kBuffers * (kTileElements * 2 + kTokens * sizeof(float)) + max_tiles;
  }
};

// What a block has in shared memory.
template <typename T>
struct ContextPoolShared {
  using Traits = ContextPoolTraits;

  SIMT_DEVICE explicit ContextPoolShared(int max_tiles) {
    SharedPool pool;
    x = pool.template Take<T>(Traits::kBuffers * Traits::kTileElements, 128);
    log_weights = pool.template Take<float>(Traits::kBuffers * Traits::kTokens);
    kept = pool.template Take<uint8_t>(max_tiles);
  }

  SIMT_DEVICE Shared<T> X(int buffer) const {
    return x.Slice(buffer * Traits::kTileElements, Traits::kTileElements);
  }
  SIMT_DEVICE Shared<float> LogWeights(int buffer) const {
    return log_weights.Slice(buffer * Traits::kTokens, Traits::kTokens);
  }

  Shared<T> x;
  Shared<float> log_weights;
  Shared<uint8_t> kept;
};

// The rows and columns of one block.
struct PoolBlock {
  PooledTokens tokens;
  // Of the sequence's pooled tokens.
  int first_row;
  int first_column;
};

// What the sums of a lane's two rows are multiplied by, and its rows themselves: y = residual(x,
// y).
struct PoolScales {
  float sums[2];
  float own;
};

template <typename T>
SIMT_DEVICE PoolScales FindScales(const ContextPoolArgs<T>& args, int count, const PoolRows& rows,
                                  const Vec<float, 4>& weight_sums) {
  PoolScales scales;
  SIMT_UNROLL
  for (int r = 0; r < 2; ++r) {
    float scale = 1;
    if constexpr (kScalesRows<T>) scale = Exp2(rows.v[r].shift);
    if (args.normalization == PoolNormalization::kSum) scale = 1.0f / weight_sums[r * 2];
    if (args.normalization == PoolNormalization::kMean) scale /= static_cast<float>(count);
    if (args.residual == PoolResidual::kGate) scale *= args.gate;
    scales.sums[r] = scale;
  }
  scales.own = args.residual == PoolResidual::kGate ? 1.0f - args.gate : 1.0f;
  return scales;
}

// Brings a warp's sums into `staged`, where its rows of x are if there is a residual. They lie
// there as in a tile of x.
template <typename T>
SIMT_DEVICE void StageSums(const PoolScales& scales, bool adds, const PoolSums& sums,
                           Shared<T> staged) {
  using Traits = ContextPoolTraits;
  const auto place = RowsPlace<Traits::kColumns>();
  SIMT_UNROLL
  for (int n = 0; n < Traits::kColumns / 16; ++n) {
    const int at = place(Traits::WarpRow(), n * 2);
    float y[8];
    SIMT_UNROLL
    for (int k = 0; k < 8; ++k) y[k] = sums.v[n * 2 + k / 4][k % 4] * scales.sums[k / 2 % 2];
    if (adds) {
      const Vec<uint32_t, 4> own = LoadMatrix<4>(staged, at);
      SIMT_UNROLL
      for (int k = 0; k < 8; ++k) y[k] += scales.own * Unpack<T>(own[k / 2])[k % 2];
    }
    Vec<uint32_t, 4> result;
    SIMT_UNROLL
    for (int pair = 0; pair < 4; ++pair) result[pair] = Pack<T>(y[pair * 2], y[pair * 2 + 1]);
    StoreMatrix(staged, at, result);
  }
}

// Writes a warp's rows, a chunk a lane.
template <typename T>
SIMT_DEVICE void WriteRows(const ContextPoolArgs<T>& args, const PoolBlock& block,
                           Shared<T> staged) {
  using Traits = ContextPoolTraits;
  constexpr int kRowsAtOnce = 32 / Traits::kRowChunks;
  const int lane = ThreadIdx().x % 32;
  const int chunk = lane % Traits::kRowChunks;
  const int column = block.first_column + chunk * Traits::kVector;
  if (column >= args.columns) return;
  const Shared<uint32_t> pairs = staged.template As<uint32_t>();
  const int first = Traits::WarpRow() + lane / Traits::kRowChunks;
  const int left = block.tokens.count - block.first_row;
  const int end =
      left < Traits::WarpRow() + Traits::kWarpRows ? left : Traits::WarpRow() + Traits::kWarpRows;
  const int64_t token = int64_t{block.tokens.first} + block.first_row;
  SIMT_NO_UNROLL
  for (int row = first; row < end; row += kRowsAtOnce) {
    args.out_pairs.StoreVec(((token + row) * args.out_stride + column) / 2,
                            pairs.template LoadVec<4>(Swizzled<Traits::kColumns>(row, chunk) / 2));
  }
}

// Of the tokens that are not pooled.
template <typename T>
SIMT_DEVICE void CopyPrefix(const ContextPoolArgs<T>& args, const PoolBlock& block) {
  const int left = args.columns - block.first_column;
  const int chunks =
      (left < ContextPoolTraits::kColumns ? left : ContextPoolTraits::kColumns) / PoolTile::kVector;
  const int count = block.tokens.first - block.tokens.begin;
  SIMT_NO_UNROLL
  for (int i = ThreadIdx().x; i < count * chunks; i += PoolTile::kThreads) {
    const int64_t token = int64_t{block.tokens.begin} + i / chunks;
    const int column = block.first_column + i % chunks * PoolTile::kVector;
    args.out_pairs.StoreVec((token * args.out_stride + column) / 2,
                            args.x_pairs.template LoadVec<4>((token * args.x_stride + column) / 2));
  }
}

template <typename T>
SIMT_DEVICE void CountTiles(const ContextPoolArgs<T>& args, const PoolTileList& list) {
  if (!args.tiles || BlockIdx().y > 0 || ThreadIdx().x > 0) return;
  int computed = 0;
  for (int tile = list.First(); tile != PoolTileList::kEnd; tile = list.Next(tile)) {
    if (tile < list.count()) ++computed;
  }
  args.tiles.AtomicAdd(0, computed);
  args.tiles.AtomicAdd(1, list.count() - computed);
}

template <typename T>
SIMT_DEVICE PoolBlock FindPoolBlock(const ContextPoolArgs<T>& args) {
  const SequenceTile sequence =
      FindTile(args.cu_lengths, args.sequences, PoolTile::kRows, BlockIdx().x);
  return {FindPooledTokens(sequence.begin, sequence.length, args.prefix, args.grid_width),
          sequence.first, static_cast<int>(BlockIdx().y) * ContextPoolTraits::kColumns};
}

// Block (number of a tile of rows, columns). REQUIRES: vectors of x and out are aligned.
template <typename T, bool kGrid>
SIMT_KERNEL(ContextPoolTraits::kThreads, ContextPoolTraits::kBlocks)
void ContextPoolKernel(ContextPoolArgs<T> args) {
  using Traits = ContextPoolTraits;
  constexpr int kEnd = PoolTileList::kEnd;
  // Behind the last tile of tokens: the rows' own x, if there is a residual.
  constexpr int kOwn = kEnd - 1;
  const PoolBlock block = FindPoolBlock(args);
  const PooledTokens& tokens = block.tokens;
  if (block.first_row == 0) CopyPrefix(args, block);
  if (block.first_row >= tokens.count) return;

  const ContextPoolShared<T> shared(args.max_tiles);
  const PoolWeightsInput input = {args.log_weight, args.support_size, tokens};
  const PoolTileList list(shared.kept, block.first_row / Traits::kRows,
                          PoolTile::Count(tokens.count));
  const PoolTokenFetcher<T> fetcher(args.x, args.x_stride, input, block.first_column, args.columns);
  SIMT_NO_UNROLL
  for (int i = 0; i < 2; ++i) {
    fetcher.Fetch(PoolTile::FirstToken(list.First() + i), shared.X(i), shared.LogWeights(i));
    CopyAsyncCommit();
  }
  list.Fill<kGrid>(input, args.skip_bits);
  PoolRows rows = FindPoolRows<kGrid>(input, block.first_row + Traits::WarpRow(), args.skip_bits);
  SyncThreads();
  CountTiles(args, list);
  if constexpr (kScalesRows<T>) FindShifts<kGrid>(input, list, rows);

  const bool adds = args.residual != PoolResidual::kNone;
  const bool multiplies = block.first_row + Traits::WarpRow() < tokens.count;
  PoolSums sums = {};
  int tile = list.First();
  int next = list.Next(tile);
  int buffer = 0;
  while (tile >= 0) {
    // The tile in `buffer` is complete, and nobody needs the one before any more.
    CopyAsyncWait<1>();
    SyncThreads();
    int after = next >= 0 ? list.Next(next) : kEnd;
    if (after == kEnd && next >= 0 && adds) after = kOwn;
    if (after != kEnd) {
      const int free = buffer == 0 ? 2 : buffer - 1;
      fetcher.Fetch(after == kOwn ? block.first_row : PoolTile::FirstToken(after), shared.X(free),
                    shared.LogWeights(free));
    }
    CopyAsyncCommit();
    if (multiplies) {
      MultiplyTile<T, kGrid>(tokens, PoolTile::FirstToken(tile), rows, shared.LogWeights(buffer),
                             shared.X(buffer), sums);
    }
    tile = next;
    next = after;
    buffer = buffer == 2 ? 0 : buffer + 1;
  }
  if (adds) {
    CopyAsyncWait<0>();
    SyncThreads();
  }
  if (!multiplies) return;
  const Shared<T> staged = shared.X(buffer);
  StageSums(FindScales(args, tokens.count, rows, sums.weights), adds, sums, staged);
  SyncWarp();
  WriteRows(args, block, staged);
}

}  // namespace contextpool::kernels::SIMT_BACKEND
