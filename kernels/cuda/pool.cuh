// One vector per segment of rows: a block a segment, whose warps take turns at its rows.
//
// Memory traffic: each row that counts is read once, out is written once.
#pragma once

#include <cstdint>

#include "kernels/cuda/warp_reduce.cuh"
#include "kernels/cuda/warp_row.cuh"
#include "kernels/pool.h"

namespace contextpool::kernels::SIMT_BACKEND {

struct PoolTraits {
  static constexpr int kThreads = 256;
  static constexpr int kWarps = kThreads / 32;
  // Elements of x that a lane loads at once.
  template <typename T>
  static constexpr int kVector = 16 / sizeof(T);
  static constexpr float kLeastLength = 1e-12f;
};

template <typename T, typename Out>
struct PoolArgs {
  Global<const T> x;
  Global<const PoolSegment> segments;
  Global<Out> out;
  int columns;
};

// A NaN on either side wins, as in PyTorch.
SIMT_DEVICE float MaxOf(float value, float other) {
  return value == value && !(other <= value) ? other : value;
}

// The rows of [begin, end) that are this warp's turn: their sum, or the largest of each column.
// A warp without a row leaves zeros to the sum, and the last row to the largest.
template <typename T, typename Row>
SIMT_DEVICE void CombineRows(const Global<const T>& x, int begin, int end, bool is_max, Row& row) {
  constexpr int kWarps = PoolTraits::kWarps;
  int i = begin + static_cast<int>(ThreadIdx().x) / 32;
  if (is_max) {
    row.Add(x, int64_t{i < end ? i : end - 1} * row.columns());
    for (i += kWarps; i < end; i += kWarps) row.Combine(x, int64_t{i} * row.columns(), MaxOf);
  } else {
    for (; i < end; i += kWarps) row.Add(x, int64_t{i} * row.columns());
  }
}

// Where a column of a step lies in shared memory, so that no two of the lanes that a bank serves
// together meet: each of them stores 16 bytes at once.
SIMT_DEVICE int PartPlace(int column) { return column ^ (column / 32 % 2 * 4); }

// Stores a lane's kVector values from `column` of a step on.
template <int kVector>
SIMT_DEVICE void StorePart(const Shared<float>& part, int column, const float* values) {
  SIMT_UNROLL
  for (int k = 0; k < kVector; k += 4) {
    part.StoreVec(PartPlace(column + k),
                  Vec<float, 4>{values[k], values[k + 1], values[k + 2], values[k + 3]});
  }
}

// What the warps found for one column, `stride` elements apart, in the warps' order.
SIMT_DEVICE float CombineParts(const Shared<float>& parts, int column, int stride, bool is_max) {
  float value = parts.Load(PartPlace(column));
  SIMT_UNROLL
  for (int warp = 1; warp < PoolTraits::kWarps; ++warp) {
    const float other = parts.Load(warp * stride + PartPlace(column));
    value = is_max ? MaxOf(value, other) : value + other;
  }
  return value;
}

// The sum over the block, for every thread. `scratch` is used once.
SIMT_DEVICE float BlockSum(const Shared<float>& scratch, float value) {
  const float warp_sum = WarpSum(value);
  if (ThreadIdx().x % 32 == 0) scratch.Store(static_cast<int>(ThreadIdx().x / 32), warp_sum);
  SyncThreads();
  float sum = 0;
  SIMT_UNROLL
  for (int warp = 0; warp < PoolTraits::kWarps; ++warp) sum += scratch.Load(warp);
  return sum;
}

// Of the block's segment, which has no row that could be read.
template <typename T, typename Out>
SIMT_DEVICE void StoreZeros(const PoolArgs<T, Out>& args) {
  for (int column = ThreadIdx().x; column < args.columns; column += PoolTraits::kThreads) {
    args.out.Store(int64_t{BlockIdx().x} * args.columns + column, FromFloat<Out>(0));
  }
}

// REQUIRES: columns <= kSteps * kStep, a multiple of kVector; addresses let vectors be loaded.
template <typename T, typename Out, int kSteps>
SIMT_KERNEL(PoolTraits::kThreads, 2)
void PoolKernel(PoolArgs<T, Out> args) {
  constexpr int kVector = PoolTraits::kVector<T>, kStep = 32 * kVector;
  static_assert(kStep <= PoolTraits::kThreads, "a thread for each column of a step");
  SIMT_SHARED(float, parts, PoolTraits::kWarps* kStep);
  SIMT_SHARED(float, squares_of_warps, PoolTraits::kWarps);
  const int thread = static_cast<int>(ThreadIdx().x);
  const PoolSegment segment = args.segments.template LoadVec<1>(BlockIdx().x)[0];
  if (segment.end <= segment.begin) return StoreZeros(args);
  const bool is_max = segment.mode == PoolMode::kMax;
  const int begin = segment.mode == PoolMode::kLast ? segment.end - 1 : segment.begin;
  const int end = segment.mode == PoolMode::kFirst ? begin + 1 : segment.end;

  WarpRow<kSteps, kVector> row(args.columns);
  CombineRows(args.x, begin, end, is_max, row);

  const auto part = parts.Slice(thread / 32 * kStep, kStep);
  // Of the columns `thread` of each step.
  float pooled[kSteps] = {};
  float squares = 0;
  SIMT_UNROLL
  for (int step = 0; step < kSteps; ++step) {
    row.ForVector(step, [&](const float* values, int column) {
      StorePart<kVector>(part, column % kStep, values);
    });
    SyncThreads();
    if (thread < kStep && step * kStep + thread < args.columns) {
      const float value = CombineParts(parts, thread, kStep, is_max);
      pooled[step] = is_max ? value : value / static_cast<float>(end - begin);
      squares += pooled[step] * pooled[step];
    }
    // Before the next step is stored.
    SyncThreads();
  }
  const float length = sqrtf(BlockSum(squares_of_warps, squares));
  const float divisor = segment.normalize != 0 ? fmaxf(length, PoolTraits::kLeastLength) : 1.0f;
  SIMT_UNROLL
  for (int step = 0; step < kSteps; ++step) {
    const int column = step * kStep + thread;
    if (thread >= kStep || column >= args.columns) continue;
    args.out.Store(int64_t{BlockIdx().x} * args.columns + column,
                   FromFloat<Out>(pooled[step] / divisor));
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
