// ContextPool: y_i = sum_j p_ij x_j / Z_i as a matrix product on tensor cores.
//
// A block makes 64 rows of kColumns columns. It walks over those tiles of 64 tokens whose weights
// matter: their x comes by cp.async while the tile before is multiplied, and their weights are made
// in shared memory, once for all columns. docs/kernels/context_pool.md.
#pragma once

#include <cstdint>

#include "kernels/context_pool.h"
#include "kernels/cuda/context_pool_weights.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/sequence_tiles.cuh"
#include "kernels/cuda/warp_reduce.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct ContextPoolArgs {
  Global<const T> x;
  Global<const float> log_weight;
  Global<const float> support_size;
  Global<const int32_t> cu_lengths;
  Global<T> out;
  // The two numbers of ContextPoolTiles; null: not counted.
  Global<int64_t> tiles;
  PoolNormalization normalization;
  PoolResidual residual;
  float gate;
  float skip_bits;
  int sequences;
  // Tiles of tokens that the longest sequence can have.
  int max_tiles;
  int prefix;
  int grid_width;
  int columns;
  int64_t x_stride;
  int64_t out_stride;
};

// kColumns: of the output, for which a block uses its weights. A thread for each.
template <int kColumns>
struct ContextPoolTraits : PoolTile {
  static constexpr int kThreads = kColumns;
  static constexpr int kBlocks = kColumns <= 256 ? 2 : 1;
  static constexpr int kRowChunks = kColumns / kVector;
  // Rows that the block's threads touch at once, a chunk each.
  static constexpr int kRowStep = kThreads / kRowChunks;
  // A warp's part of the product.
  static constexpr int kWarpRows = 32;
  static constexpr int kWarpColumns = 64;
  static constexpr int kBuffers = 2;
  static constexpr int kTileElements = kTokens * kColumns;
  static_assert(kThreads / 32 * kWarpRows * kWarpColumns == kRows * kColumns);
  static_assert(kThreads >= kGenerators && kRowStep == 8);

  static constexpr size_t SharedBytes(int max_tiles) {
    const size_t elements = kBuffers * (kTileElements + kElements);
    return elements * 2 + (kBuffers * kTokens + 5 * kRows) * sizeof(float) + max_tiles;
  }
};

// What a block has in shared memory.
template <typename T, int kColumns>
struct ContextPoolShared {
  using Traits = ContextPoolTraits<kColumns>;

  SIMT_DEVICE explicit ContextPoolShared(int max_tiles) {
    SharedPool pool;
    x = pool.template Take<T>(Traits::kBuffers * Traits::kTileElements, 128);
    weights = pool.template Take<T>(Traits::kBuffers * Traits::kElements, 128);
    log_weights = pool.template Take<float>(Traits::kBuffers * Traits::kTokens);
    rows = pool.template Take<float>(4 * Traits::kRows);
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
  // [kRows, 4]
  Shared<float> rows;
  // [kRows]: what the sums are multiplied by.
  Shared<float> scales;
  Shared<uint8_t> kept;
};

// The block's columns of a tile of tokens. Tokens and columns that do not exist become zeros: what
// another sequence has there must not even be multiplied by zero, as it might be NaN.
template <typename T, int kColumns>
SIMT_DEVICE void CopyTokens(const ContextPoolArgs<T>& args, const PooledTokens& tokens, int tile,
                            int first_column, Shared<T> to) {
  using Traits = ContextPoolTraits<kColumns>;
  const int chunk = ThreadIdx().x % Traits::kRowChunks;
  const int column = first_column + chunk * Traits::kVector;
  const int first_row = ThreadIdx().x / Traits::kRowChunks;
  const int first = tile * Traits::kTokens + first_row;
  // Of the rows that exist in this column, behind the thread's first one.
  const int count = column < args.columns ? tokens.count - first : 0;
  const int64_t from = (tokens.first + first) * args.x_stride + column;
  SIMT_UNROLL
  for (int step = 0; step < Traits::kTokens; step += Traits::kRowStep) {
    const bool exists = step < count;
    CopyAsync<16>(to, SwizzledChunk<kColumns>(first_row + step, chunk), args.x,
                  exists ? from + step * args.x_stride : 0, exists ? 16 : 0);
  }
}

// The sums of a warp's 32 rows and 64 columns.
struct PoolSums {
  Vec<float, 4> v[2][8];
};

// sums += weights x, over one tile of tokens.
template <typename T, int kColumns>
SIMT_DEVICE void MultiplyTile(Shared<T> weights, Shared<T> x, int warp_row, int warp_column,
                              PoolSums& sums) {
  using Traits = ContextPoolTraits<kColumns>;
  const int lane = ThreadIdx().x % 32;
  SIMT_UNROLL
  for (int k = 0; k < Traits::kTokens; k += 16) {
    Vec<uint32_t, 4> a[2];
    SIMT_UNROLL
    for (int m = 0; m < 2; ++m) {
      a[m] = LoadMatrix<4>(weights, SwizzledChunk<Traits::kTokens>(warp_row + m * 16 + lane % 16,
                                                                   k / 8 + lane / 16));
    }
    SIMT_UNROLL
    for (int n = 0; n < 4; ++n) {
      const int chunk = warp_column / Traits::kVector + n * 2 + lane / 16;
      const Vec<uint32_t, 4> b =
          LoadMatrixTransposed<4>(x, SwizzledChunk<kColumns>(k + lane % 16, chunk));
      SIMT_UNROLL
      for (int m = 0; m < 2; ++m) {
        Mma<T>(sums.v[m][n * 2], a[m], {b[0], b[1]});
        Mma<T>(sums.v[m][n * 2 + 1], a[m], {b[2], b[3]});
      }
    }
  }
}

// Where sums are in shared memory before they are written: `vector` is of 4 columns. Four rows of a
// fragment, and 8 chunks of a row, lie in different banks.
template <int kColumns>
SIMT_DEVICE int StagedVector(int row, int vector) {
  return row * kColumns + (SwizzledVector(vector) ^ row % 4 * 2) * 4;
}

template <int kColumns>
SIMT_DEVICE void StageSums(const PoolSums& sums, int warp_row, int warp_column,
                           Shared<float> staged) {
  const int lane = ThreadIdx().x % 32;
  SIMT_UNROLL
  for (int part = 0; part < 32; ++part) {
    const int m = part / 16;
    const int n = part / 2 % 8;
    const int half = part % 2;
    const int row = warp_row + m * 16 + half * 8 + lane / 4;
    const int column = warp_column + n * 8 + lane % 4 * 2;
    staged.StoreVec<2>(StagedVector<kColumns>(row, column / 4) + column % 4,
                       {sums.v[m][n][half * 2], sums.v[m][n][half * 2 + 1]});
  }
}

// residual(x, y) for one chunk of a row.
template <typename T>
SIMT_DEVICE Vec<T, 8> WithResidual(const ContextPoolArgs<T>& args, int64_t token, int column,
                                   const Vec<float, 4> (&y)[2]) {
  Vec<T, 8> x = {};
  if (args.residual != PoolResidual::kNone) {
    x = args.x.template LoadVec<8>(token * args.x_stride + column);
  }
  Vec<T, 8> result;
  SIMT_UNROLL
  for (int k = 0; k < 8; ++k) {
    float value = y[k / 4][k % 4];
    const float own = ToFloat(x[k]);
    if (args.residual == PoolResidual::kAdd) value = own + value;
    if (args.residual == PoolResidual::kGate) value = own + args.gate * (value - own);
    result[k] = FromFloat<T>(value);
  }
  return result;
}

template <typename T, int kColumns>
SIMT_DEVICE void WriteRows(const ContextPoolArgs<T>& args, const PooledTokens& tokens, int row_tile,
                           int first_column, Shared<const float> staged,
                           Shared<const float> scales) {
  using Traits = ContextPoolTraits<kColumns>;
  const int chunk = ThreadIdx().x % Traits::kRowChunks;
  const int column = first_column + chunk * Traits::kVector;
  if (column >= args.columns) return;
  for (int row = ThreadIdx().x / Traits::kRowChunks; row < Traits::kRows; row += Traits::kRowStep) {
    const int token = row_tile * Traits::kRows + row;
    if (token >= tokens.count) return;
    const float scale = scales.Load(row);
    Vec<float, 4> y[2];
    SIMT_UNROLL
    for (int half = 0; half < 2; ++half) {
      y[half] = staged.LoadVec<4>(StagedVector<kColumns>(row, chunk * 2 + half));
      SIMT_UNROLL
      for (int k = 0; k < 4; ++k) y[half][k] *= scale;
    }
    args.out.StoreVec((tokens.first + token) * args.out_stride + column,
                      WithResidual(args, tokens.first + token, column, y));
  }
}

// Describes the rows of the weights, by the threads that own them.
template <typename T>
SIMT_DEVICE void StoreRows(const PoolWeightsInput& input, int row_tile, const PoolTileList& list,
                           Shared<float> shared) {
  PoolRow rows[PoolTile::kOwned];
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    rows[r] = FindPoolRow(input, row_tile * PoolTile::kRows + OwnedRow(r));
  }
  if constexpr (kScalesRows<T>) FindShifts(input, list, rows);
  if (ThreadIdx().x % PoolTile::kChunks > 0) return;
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) StorePoolRow(shared, OwnedRow(r), rows[r]);
}

// What the sums of the calling thread's rows are multiplied by.
template <typename T>
SIMT_DEVICE void StoreScales(const ContextPoolArgs<T>& args, int count, Shared<const float> rows,
                             const float (&sums)[PoolTile::kOwned], Shared<float> scales) {
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    const float sum = WarpSum<PoolTile::kChunks>(sums[r]);
    float scale = 1;
    if constexpr (kScalesRows<T>) scale = Exp2(LoadPoolRow(rows, OwnedRow(r)).shift);
    if (args.normalization == PoolNormalization::kSum) scale = 1.0f / sum;
    if (args.normalization == PoolNormalization::kMean) scale /= static_cast<float>(count);
    if (ThreadIdx().x % PoolTile::kChunks == 0) scales.Store(OwnedRow(r), scale);
  }
}

// Of the tokens that are not pooled.
template <typename T, int kColumns>
SIMT_DEVICE void CopyPrefix(const ContextPoolArgs<T>& args, const PooledTokens& tokens,
                            int first_column) {
  using Traits = ContextPoolTraits<kColumns>;
  const int column = first_column + ThreadIdx().x % Traits::kRowChunks * Traits::kVector;
  if (column >= args.columns) return;
  for (int64_t token = tokens.begin + ThreadIdx().x / Traits::kRowChunks; token < tokens.first;
       token += Traits::kRowStep) {
    args.out.StoreVec(token * args.out_stride + column,
                      args.x.template LoadVec<8>(token * args.x_stride + column));
  }
}

template <typename T>
SIMT_DEVICE void CountTiles(const ContextPoolArgs<T>& args, const PoolTileList& list) {
  if (!args.tiles || BlockIdx().y > 0 || ThreadIdx().x > 0) return;
  const int computed = list.Kept();
  args.tiles.AtomicAdd(0, computed);
  args.tiles.AtomicAdd(1, list.count - computed);
}

// Block (number of a tile of rows, columns). REQUIRES: vectors of x and out are aligned.
template <typename T, int kColumns>
SIMT_KERNEL(ContextPoolTraits<kColumns>::kThreads, ContextPoolTraits<kColumns>::kBlocks)
void ContextPoolKernel(ContextPoolArgs<T> args) {
  using Traits = ContextPoolTraits<kColumns>;
  const SequenceTile sequence =
      FindTile(args.cu_lengths, args.sequences, Traits::kRows, BlockIdx().x);
  const int row_tile = sequence.first / Traits::kRows;
  const int first_column = BlockIdx().y * kColumns;
  const PoolWeightsInput input = {
      args.log_weight, args.support_size,
      FindPooledTokens(sequence.begin, sequence.length, args.prefix, args.grid_width)};
  const PooledTokens& tokens = input.tokens;
  if (row_tile == 0) CopyPrefix<T, kColumns>(args, tokens, first_column);
  if (row_tile * Traits::kRows >= tokens.count) return;

  const ContextPoolShared<T, kColumns> shared(args.max_tiles);
  const PoolTileList list = {shared.kept, (tokens.count + Traits::kTokens - 1) / Traits::kTokens};
  FillPoolTileList(input, row_tile, args.skip_bits, Traits::kThreads / 32, list);
  SyncThreads();
  CountTiles(args, list);

  const bool generates = ThreadIdx().x < Traits::kGenerators;
  if (generates) StoreRows<T>(input, row_tile, list, shared.rows);
  float weight_sums[Traits::kOwned] = {};

  const int first_tile = list.Next(0);
  int next = list.Next(first_tile + 1);
  CopyLogWeights(input, first_tile, shared.LogWeights(0));
  CopyAsyncCommit();
  CopyTokens<T, kColumns>(args, tokens, first_tile, first_column, shared.X(0));
  if (next < list.count) CopyLogWeights(input, next, shared.LogWeights(1));
  CopyAsyncCommit();
  CopyAsyncWait<1>();
  SyncThreads();
  if (generates) {
    MakeWeights<T>(tokens, first_tile, shared.LogWeights(0), shared.rows, shared.Weights(0),
                   weight_sums);
  }

  const int warp = ThreadIdx().x / 32;
  const int warp_row = warp % 2 * Traits::kWarpRows;
  const int warp_column = warp / 2 * Traits::kWarpColumns;
  const bool multiplies = first_column + warp_column < args.columns;
  PoolSums sums = {};
  bool is_last = false;
  for (int buffer = 0; !is_last; buffer ^= 1) {
    // The tile in `buffer` is complete, and nobody needs the other one any more.
    CopyAsyncWait<0>();
    SyncThreads();
    is_last = next == list.count;
    if (!is_last) {
      const int tile = next;
      next = list.Next(tile + 1);
      CopyTokens<T, kColumns>(args, tokens, tile, first_column, shared.X(buffer ^ 1));
      if (next < list.count) CopyLogWeights(input, next, shared.LogWeights(buffer));
      CopyAsyncCommit();
      if (generates) {
        MakeWeights<T>(tokens, tile, shared.LogWeights(buffer ^ 1), shared.rows,
                       shared.Weights(buffer ^ 1), weight_sums);
      }
    }
    if (multiplies) {
      MultiplyTile<T, kColumns>(shared.Weights(buffer), shared.X(buffer), warp_row, warp_column,
                                sums);
    }
  }

  if (generates) StoreScales(args, tokens.count, shared.rows, weight_sums, shared.scales);
  // The sums take the place of x, in both buffers.
  SyncThreads();
  const Shared<float> staged = shared.x.template As<float>();
  if (multiplies) StageSums<kColumns>(sums, warp_row, warp_column, staged);
  SyncThreads();
  WriteRows<T, kColumns>(args, tokens, row_tile, first_column, staged, shared.scales);
}

}  // namespace contextpool::kernels::SIMT_BACKEND
