// ContextPool: y_i = sum_j p_ij x_j / Z_i as a matrix product on tensor cores.
//
// A block makes 128 rows. It makes their weights once, in shared memory, and then goes through its
// columns, 128 at a time: x passes by in stages of 32 tokens, which cp.async brings while earlier
// ones are multiplied, without a break between columns. docs/kernels/context_pool.md.
#pragma once

#include <cstdint>

#include "kernels/context_pool.h"
#include "kernels/cuda/context_pool_stages.cuh"
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
  // Tiles of weights that a block holds at once, kMostPanel at most. If its rows need more, it
  // makes them again for each kColumns columns.
  int panel;
  // Of a block: a multiple of kColumns.
  int block_columns;
  int columns;
  int x_stride;
  int out_stride;
};

struct ContextPoolTraits : PoolStageTraits {
  static constexpr int kMostPanel = 4;

  static constexpr size_t SharedBytes(int panel) {
    const size_t elements = kStages * kStageElements + panel * kElements;
    const size_t floats = kStagedFloats + panel * kTokens + 5 * kRows;
    return elements * 2 + floats * sizeof(float) + kThreads / 32 * 2 * sizeof(int32_t);
  }
};

// What a block has in shared memory.
template <typename T>
struct ContextPoolShared {
  using Traits = ContextPoolTraits;

  SIMT_DEVICE explicit ContextPoolShared(int panel) {
    SharedPool pool;
    x = pool.template Take<T>(Traits::kStages * Traits::kStageElements, 128);
    staged = pool.template Take<float>(Traits::kStagedFloats, 128);
    weights = pool.template Take<T>(panel * Traits::kElements, 128);
    log_weights = pool.template Take<float>(panel * Traits::kTokens);
    rows = pool.template Take<float>(4 * Traits::kRows);
    scales = pool.template Take<float>(Traits::kRows);
    scratch = pool.template Take<int32_t>(Traits::kThreads / 32 * 2);
  }

  Shared<T> x;
  Shared<float> staged;
  // Of the tiles of a panel, as the log weights are.
  Shared<T> weights;
  Shared<float> log_weights;
  // [kRows, 4]
  Shared<float> rows;
  // [kRows]: the sums of the weights, and then what the sums of x are multiplied by.
  Shared<float> scales;
  Shared<int32_t> scratch;
};

// The rows and columns of one block.
struct PoolBlock {
  PooledTokens tokens;
  // Of the sequence's pooled tokens.
  int first_row;
  int first_column;
  int end_column;

  // Of the rows that a thread owns, those that exist; the same for a whole block.
  SIMT_DEVICE int Owned() const {
    constexpr int kDistance = PoolTile::kOwnedDistance;
    const int owned = (tokens.count - first_row + kDistance - 1) / kDistance;
    return owned < PoolTile::kOwned ? owned : PoolTile::kOwned;
  }
};

// Makes the weights of the tiles from `first` on, as many as a panel holds, below `end`. If they
// are made for the first time, they count.
template <typename T, bool kGrid>
SIMT_DEVICE void MakePanel(const ContextPoolArgs<T>& args, const PoolWeightsInput& input,
                           const PoolBlock& block, int first, int end, bool counts,
                           const ContextPoolShared<T>& shared) {
  const int behind = first + args.panel < end ? first + args.panel : end;
  // Nobody needs the panel before this one any more.
  SyncThreads();
  StoreLogWeights(input, first * PoolTile::kTokens, (behind - first) * PoolTile::kTokens,
                  shared.log_weights);
  SyncThreads();
  for (int tile = first; tile < behind; ++tile) {
    const int i = tile - first;
    MakeWeights<T, kGrid>(
        input.tokens, tile, block.Owned(), counts,
        shared.log_weights.Slice(i * PoolTile::kTokens, PoolTile::kTokens), shared.rows,
        shared.weights.Slice(i * PoolTile::kElements, PoolTile::kElements), shared.scales);
  }
}

// From the sums of the weights to what the sums of x are multiplied by: by the thread that summed.
template <typename T>
SIMT_DEVICE void StoreScales(const ContextPoolArgs<T>& args, int count, Shared<const float> rows,
                             Shared<float> scales) {
  if (ThreadIdx().x % PoolTile::kChunks > 0) return;
  SIMT_NO_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    float scale = 1;
    if constexpr (kScalesRows<T>) scale = Exp2(LoadPoolRow(rows, OwnedRow(r)).shift);
    if (args.normalization == PoolNormalization::kSum) scale = 1.0f / scales.Load(OwnedRow(r));
    if (args.normalization == PoolNormalization::kMean) scale /= static_cast<float>(count);
    scales.Store(OwnedRow(r), scale);
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

// Writes a warp's sums, which are of columns from `column` on: 8 rows and 32 columns at a time by
// way of shared memory, where a lane finds 8 neighbours.
template <typename T>
SIMT_DEVICE void WriteSums(const ContextPoolArgs<T>& args, const PoolBlock& block, int column,
                           const PoolSums& sums, const ContextPoolShared<T>& shared) {
  using Traits = ContextPoolTraits;
  const int lane = ThreadIdx().x % 32;
  const int first_row = Traits::WarpRow() + lane / 4;
  const int first_column = column + Traits::WarpColumn() + lane % 4 * Traits::kVector;
  const int rows = block.tokens.count - block.first_row - first_row;
  const int64_t token = int64_t{block.tokens.first} + block.first_row + first_row;
  const Shared<float> staged =
      shared.staged.Slice(ThreadIdx().x / 32 * PoolPart::kFloats, PoolPart::kFloats);
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
  const int chunks = (block.end_column - block.first_column) / PoolTile::kVector;
  const int count = block.tokens.first - block.tokens.begin;
  for (int i = ThreadIdx().x; i < count * chunks; i += PoolTile::kThreads) {
    const int64_t token = int64_t{block.tokens.begin} + i / chunks;
    const int column = block.first_column + i % chunks * PoolTile::kVector;
    args.out_pairs.StoreVec((token * args.out_stride + column) / 2,
                            args.x_pairs.template LoadVec<4>((token * args.x_stride + column) / 2));
  }
}

template <typename T>
SIMT_DEVICE void CountTiles(const ContextPoolArgs<T>& args, int count, PoolRange range) {
  if (!args.tiles || BlockIdx().y > 0 || ThreadIdx().x > 0) return;
  const int computed = range.end - range.first;
  const int all = (count + PoolTile::kTokens - 1) / PoolTile::kTokens;
  args.tiles.AtomicAdd(0, computed);
  args.tiles.AtomicAdd(1, all - computed);
}

template <typename T>
SIMT_DEVICE PoolBlock FindPoolBlock(const ContextPoolArgs<T>& args) {
  const SequenceTile sequence =
      FindTile(args.cu_lengths, args.sequences, PoolTile::kRows, BlockIdx().x);
  const int first_column = BlockIdx().y * args.block_columns;
  const int behind = first_column + args.block_columns;
  return {FindPooledTokens(sequence.begin, sequence.length, args.prefix, args.grid_width),
          sequence.first, first_column, behind < args.columns ? behind : args.columns};
}

// Block (number of a tile of rows, columns). REQUIRES: vectors of x and out are aligned.
template <typename T, bool kGrid>
SIMT_KERNEL(ContextPoolTraits::kThreads, 2)
void ContextPoolKernel(ContextPoolArgs<T> args) {
  using Traits = ContextPoolTraits;
  const PoolBlock block = FindPoolBlock(args);
  const PooledTokens& tokens = block.tokens;
  if (block.first_row == 0) CopyPrefix(args, block);
  if (block.first_row >= tokens.count) return;

  const ContextPoolShared<T> shared(args.panel);
  const PoolWeightsInput input = {args.log_weight, args.support_size, tokens};
  const PoolRange range =
      FindPoolRange<kGrid>(input, block.first_row, args.skip_bits, shared.scratch);
  CountTiles(args, tokens.count, range);
  PoolStages<T> stages(shared.x, args.x, args.x_stride, tokens, range, block.first_column,
                       block.end_column);
  StorePoolRows<T, kGrid>(input, block.first_row, range, shared.rows, shared.scales);

  const PoolFragments<T> fragments;
  const bool has_rows = block.first_row + Traits::WarpRow() < tokens.count;
  const bool fits_panel = range.end - range.first <= args.panel;
  for (int column = block.first_column; column < block.end_column; column += Traits::kColumns) {
    const bool is_first = column == block.first_column;
    const bool multiplies = has_rows && column + Traits::WarpColumn() < block.end_column;
    PoolSums sums = {};
    for (int tile = range.first; tile < range.end; tile += args.panel) {
      if (is_first || !fits_panel) {
        MakePanel<T, kGrid>(args, input, block, tile, range.end, is_first, shared);
      }
      if (is_first && tile + args.panel >= range.end) {
        StoreScales(args, tokens.count, shared.rows, shared.scales);
      }
      const int behind = tile + args.panel < range.end ? tile + args.panel : range.end;
      const int count = stages.CountBefore(behind) - stages.CountBefore(tile);
      for (int i = 0; i < count; ++i) {
        const Shared<T> x = stages.Next();
        if (!multiplies) continue;
        fragments.Multiply(shared.weights, i, x, stages.TokensOf(tile, i), sums);
      }
    }
    if (multiplies) WriteSums(args, block, column, sums, shared);
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
