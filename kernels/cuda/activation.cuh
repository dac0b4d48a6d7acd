// x = activation(x + bias + residual) in place: one warp for each row and each few hundred columns.
//
// Memory traffic: x in and out, the residual once; the bias stays in the first-level cache.
#pragma once

#include <cstdint>

#include "kernels/cuda/activate.cuh"
#include "kernels/cuda/warp_row.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct BiasActivationArgs {
  Global<T> x;
  // Null: none.
  Global<const T> bias;
  Global<const T> residual;
  int64_t rows;
  int columns;
  int64_t stride;
  int64_t residual_stride;
};

// The part of a row that a warp works on. Two steps, so that all loads are under way at once.
template <int kVector>
using ActivationRow = WarpRow<2, kVector>;

// REQUIRES: columns, strides and addresses let vectors of kVector elements be loaded.
template <typename T, int kVector, Activation kActivation>
SIMT_KERNEL(RowTraits::kThreads, 8)
void BiasActivationKernel(BiasActivationArgs<T> args) {
  using Row = ActivationRow<kVector>;
  const int64_t row = RowOfWarp();
  if (row >= args.rows) return;
  Row values(args.columns, static_cast<int>(BlockIdx().y) * Row::kColumns);
  values.Add(args.x, row * args.stride);
  if (args.bias) values.Add(args.bias, 0);
  if (args.residual) values.Add(args.residual, row * args.residual_stride);
  values.Store(args.x, row * args.stride, [](float value) { return Activate<kActivation>(value); });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
