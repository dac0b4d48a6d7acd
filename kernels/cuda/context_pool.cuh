// ContextPool: y_i = sum_j p_ij x_j / Z_i as a matrix product on tensor cores.
//
// A block makes 64 rows of 128 columns. It walks over those tiles of 64 tokens whose weights
// matter: their x comes by cp.async while the tile before is multiplied, and their weights are made
// in shared memory. The two tiles around the rows always matter; they are on their way before the
// block knows which others do. docs/kernels/context_pool.md.
#pragma once

#include <cstdint>

#include "kernels/context_pool.h"
#include "kernels/cuda/context_pool_product.cuh"
#include "kernels/cuda/context_pool_weights.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/sequence_tiles.cuh"

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
  static constexpr int kBuffers = 2;
  // That share a processor: as many as shared memory and registers let.
  template <typename T, bool kGrid>
  static constexpr int kBlocks = kGrid&& kScalesRows<T> ? 3 : 4;

  static constexpr size_t SharedBytes(int max_tiles) {
    const size_t elements = kBuffers * (kTileElements + kElements);
    const size_t floats = kBuffers * kTokens + kRows;
    return elements * 2 + floats * sizeof(float) + max_tiles;
  }
};

// What a block has in shared memory.
template <typename T>
struct ContextPoolShared {
  using Traits = ContextPoolTraits;

  SIMT_DEVICE explicit ContextPoolShared(int max_tiles) {
    SharedPool pool;
    x = pool.template Take<T>(Traits::kBuffers * Traits::kTileElements, 128);
    weights = pool.template Take<T>(Traits::kBuffers * Traits::kElements, 128);
    log_weights = pool.template Take<float>(Traits::kBuffers * Traits::kTokens);
    scales = pool.template Take<float>(Traits::kRows);
    kept = pool.template Take<uint8_t>(max_tiles);
  }

  SIMT_DEVICE Shared<T> X(int buffer) const {
    return x.Slice(buffer * Traits::kTileElements, Traits::kTileElements);
  }
  SIMT_DEVICE Shared<T> Weights(int buffer) const {
    return weights.Slice(buffer * Traits::kElements, Traits::kElements);
  }
  SIMT_DEVICE Shared<float> LogWeights(int buffer) const {
    return log_weights.Slice(buffer * Traits::kTokens, Traits::kTokens);
  }

  Shared<T> x;
  Shared<T> weights;
  Shared<float> log_weights;
  // [kRows]: what the sums are multiplied by.
  Shared<float> scales;
  Shared<uint8_t> kept;
};

// The rows and columns of one block.
struct PoolBlock {
  PooledTokens tokens;
  // Of the sequence's pooled tokens.
  int first_row;
  int first_column;
};

// What the sums of the calling thread's rows are multiplied by.
template <typename T>
SIMT_DEVICE void StoreScales(const ContextPoolArgs<T>& args, int count,
                             const PoolRow (&rows)[PoolTile::kOwned],
                             const float (&sums)[PoolTile::kOwned], Shared<float> scales) {
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    const float sum = WarpSum<PoolTile::kChunks>(sums[r]);
    float scale = 1;
    if constexpr (kScalesRows<T>) scale = Exp2(rows[r].shift);
    if (args.normalization == PoolNormalization::kSum) scale = 1.0f / sum;
    if (args.normalization == PoolNormalization::kMean) scale /= static_cast<float>(count);
    if (ThreadIdx().x % PoolTile::kChunks == 0) scales.Store(OwnedRow(r), scale);
  }
}

// residual(x, y) for one chunk of a row; `own` is x.
template <typename T>
SIMT_DEVICE Vec<uint32_t, 4> WithResidual(PoolResidual residual, float gate,
                                          const Vec<uint32_t, 4>& own,
                                          const Vec<float, 4> (&y)[2]) {
  Vec<uint32_t, 4> result;
  SIMT_UNROLL
  for (int pair = 0; pair < 4; ++pair) {
    const Vec<float, 2> x = Unpack<T>(own[pair]);
    float value[2];
    SIMT_UNROLL
    for (int k = 0; k < 2; ++k) {
      value[k] = y[pair / 2][pair % 2 * 2 + k];
      if (residual == PoolResidual::kAdd) value[k] = x[k] + value[k];
      if (residual == PoolResidual::kGate) value[k] = x[k] + gate * (value[k] - x[k]);
    }
    result[pair] = Pack<T>(value[0], value[1]);
  }
  return result;
}

// Writes a warp's sums: 8 rows and 32 columns at a time by way of shared memory, where a lane finds
// 8 neighbours.
template <typename T>
SIMT_DEVICE void WriteSums(const ContextPoolArgs<T>& args, const PoolBlock& block,
                           const PoolSums& sums, const ContextPoolShared<T>& shared) {
  using Traits = ContextPoolTraits;
  const int lane = ThreadIdx().x % 32;
  const int first_row = Traits::WarpRow() + lane / 4;
  const int first_column = block.first_column + Traits::WarpColumn() + lane % 4 * Traits::kVector;
  const int rows = block.tokens.count - block.first_row - first_row;
  const int64_t token = int64_t{block.tokens.first} + block.first_row + first_row;
  // In the place of x.
  const Shared<float> staged = shared.x.template As<float>().Slice(
      ThreadIdx().x / 32 * PoolPart::kFloats, PoolPart::kFloats);
  SIMT_UNROLL
  for (int part = 0; part < 2; ++part) {
    const int part_column = first_column + part * PoolPart::kColumns;
    const int count = part_column < args.columns ? rows : 0;
    // From row to row: addresses of all would take registers that are for the sums.
    int64_t from = (token * args.x_stride + part_column) / 2;
    int64_t to = (token * args.out_stride + part_column) / 2;
    SIMT_UNROLL
    for (int row = 0; row < Traits::kWarpRows; row += PoolPart::kRows) {
      const bool exists = row < count;
      Vec<uint32_t, 4> own = {};
      if (args.residual != PoolResidual::kNone && exists)
        own = args.x_pairs.template LoadVec<4>(from);
      PoolPart::Store(sums, row, part, staged);
      SyncWarp();
      const float scale = shared.scales.Load(first_row + row);
      Vec<float, 4> y[2];
      SIMT_UNROLL
      for (int half = 0; half < 2; ++half) {
        y[half] = PoolPart::Load(staged, half);
        SIMT_UNROLL
        for (int k = 0; k < 4; ++k) y[half][k] *= scale;
      }
      SyncWarp();
      if (exists) args.out_pairs.StoreVec(to, WithResidual<T>(args.residual, args.gate, own, y));
      from += int64_t{args.x_stride} * PoolPart::kRows / 2;
      to += int64_t{args.out_stride} * PoolPart::kRows / 2;
    }
  }
}

// Of the tokens that are not pooled.
template <typename T>
SIMT_DEVICE void CopyPrefix(const ContextPoolArgs<T>& args, const PoolBlock& block) {
  const int left = args.columns - block.first_column;
  const int chunks =
      (left < ContextPoolTraits::kColumns ? left : ContextPoolTraits::kColumns) / PoolTile::kVector;
  const int count = block.tokens.first - block.tokens.begin;
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
  for (int tile = list.First(); tile != PoolTileList::kEnd; tile = list.Next(tile)) ++computed;
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
SIMT_KERNEL(ContextPoolTraits::kThreads, (ContextPoolTraits::kBlocks<T, kGrid>))
void ContextPoolKernel(ContextPoolArgs<T> args) {
  using Traits = ContextPoolTraits;
  constexpr int kEnd = PoolTileList::kEnd;
  const PoolBlock block = FindPoolBlock(args);
  const PooledTokens& tokens = block.tokens;
  if (block.first_row == 0) CopyPrefix(args, block);
  if (block.first_row >= tokens.count) return;

  const ContextPoolShared<T> shared(args.max_tiles);
  const PoolWeightsInput input = {args.log_weight, args.support_size, tokens};
  const PoolTileList list(shared.kept, block.first_row / Traits::kRows,
                          PoolTile::Count(tokens.count));
  const PoolTokenFetcher<T> fetcher(args.x, args.x_stride, tokens, block.first_column,
                                    args.columns);
  const int around = list.First() + static_cast<int>(ThreadIdx().x) / Traits::kTokens;
  fetcher.Fetch(list.First(), shared.X(0));
  if (list.First() + 1 < list.count()) fetcher.Fetch(list.First() + 1, shared.X(1));
  StoreLogWeight(FetchLogWeight(input, around),
                 shared.LogWeights(static_cast<int>(ThreadIdx().x) / Traits::kTokens));
  list.Fill<kGrid>(input, args.skip_bits);
  PoolRow rows[Traits::kOwned];
  SIMT_UNROLL
  for (int r = 0; r < Traits::kOwned; ++r) {
    rows[r] = FindPoolRow<kGrid>(input, block.first_row + OwnedRow(r));
  }
  SyncThreads();
  CountTiles(args, list);
  if constexpr (kScalesRows<T>) FindShifts<kGrid>(input, list, rows);

  const PoolFragments<T> fragments;
  const bool multiplies = block.first_row + Traits::WarpRow() < tokens.count &&
                          block.first_column + Traits::WarpColumn() < args.columns;
  float weight_sums[Traits::kOwned] = {};
  PoolSums sums = {};
  int tile = list.First();
  int next = list.Next(tile);
  if (next != kEnd && next != list.First() + 1 && ThreadIdx().x < Traits::kTokens) {
    StoreLogWeight(FetchLogWeight(input, next), shared.LogWeights(1));
  }
  MakeWeights<T, kGrid>(tokens, tile, rows, shared.LogWeights(0), shared.Weights(0), weight_sums);
  for (int buffer = 0; tile != kEnd; buffer ^= 1) {
    // The tile in `buffer` is complete, and nobody needs the other one any more, unless that is the
    // second tile around the rows, which is on its way.
    CopyAsyncWait<0>();
    SyncThreads();
    const int after = next != kEnd ? list.Next(next) : kEnd;
    const float log_weight =
        after != kEnd && ThreadIdx().x < Traits::kTokens ? FetchLogWeight(input, after) : 0;
    if (next != kEnd) {
      if (next != list.First() + 1) fetcher.Fetch(next, shared.X(buffer ^ 1));
      MakeWeights<T, kGrid>(tokens, next, rows, shared.LogWeights(buffer ^ 1),
                            shared.Weights(buffer ^ 1), weight_sums);
    }
    if (multiplies) {
      const int first = PoolTile::FirstToken(tile);
      fragments.Multiply(shared.Weights(buffer), shared.X(buffer), -first, tokens.count - first,
                         sums);
    }
    if (after != kEnd && ThreadIdx().x < Traits::kTokens) {
      StoreLogWeight(log_weight, shared.LogWeights(buffer));
    }
    tile = next;
    next = after;
  }

  StoreScales(args, tokens.count, rows, weight_sums, shared.scales);
  SyncThreads();
  if (multiplies) WriteSums(args, block, sums, shared);
}

}  // namespace contextpool::kernels::SIMT_BACKEND
