// LayerNorm of bias + residual + x: one warp a row, which it keeps in registers.
//
// Memory traffic: x, residual and out once each; gamma, beta and bias stay in the first-level
// cache. The row is read once, so the two passes (mean, then variance) cost no memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/normalize_row.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/warp_row.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct LayerNormArgs {
  Global<const T> x;
  // Null: none.
  Global<const T> bias;
  Global<const T> residual;
  NormArgs<T> norm;
  Global<T> out;
  int64_t rows;
  int columns;
  int64_t x_stride;
  int64_t residual_stride;
  int64_t out_stride;
};

// REQUIRES: columns <= kSteps * kStep, a multiple of kVector; strides and addresses let vectors be
// loaded.
template <typename T, int kSteps>
SIMT_KERNEL(RowTraits::kThreads, 4)
void LayerNormKernel(LayerNormArgs<T> args) {
  const int64_t row = RowOfWarp();
  if (row >= args.rows) return;
  WarpRow<kSteps> values(args.columns);
  values.Add(args.x, row * args.x_stride);
  if (args.bias) values.Add(args.bias, 0);
  if (args.residual) values.Add(args.residual, row * args.residual_stride);
  StoreNormalized(values, args.norm, args.out, row * args.out_stride);
}

}  // namespace contextpool::kernels::SIMT_BACKEND
