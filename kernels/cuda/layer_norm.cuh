// LayerNorm of bias + residual + x: one warp a row, which it keeps in registers.
//
// Memory traffic: x, residual and out once each; gamma, beta and bias stay in the first-level
// cache. The row is read once, so the two passes (mean, then variance) cost no memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/warp_reduce.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct LayerNormArgs {
  Global<const T> x;
  // Null: none.
  Global<const T> bias;
  Global<const T> residual;
  Global<const T> gamma;
  Global<const T> beta;
  Global<T> out;
  int64_t rows;
  int columns;
  int64_t x_stride;
  int64_t residual_stride;
  int64_t out_stride;
  float eps;
};

struct LayerNormTraits {
  static constexpr int kThreads = 128;
  static constexpr int kRows = kThreads / 32;
  // Elements of 16 bits that a lane loads at once.
  static constexpr int kVector = 8;
  // What a warp loads at once. A row has up to kMaxSteps of it: 64 registers a lane.
  static constexpr int kStep = 32 * kVector;
  static constexpr int kMaxSteps = 8;
};

// Adds kVector elements from number `first` to `values`.
template <typename T>
SIMT_DEVICE void AddVector(float* values, Global<const T> from, int64_t first) {
  const auto loaded = from.template LoadVec<LayerNormTraits::kVector>(first);
  SIMT_UNROLL
  for (int k = 0; k < LayerNormTraits::kVector; ++k) values[k] += ToFloat(loaded[k]);
}

// out = (values - mean) * scale * gamma + beta, for kVector elements.
template <typename T>
SIMT_DEVICE void StoreNormalized(const LayerNormArgs<T>& args, const float* values, float mean,
                                 float scale, int64_t row, int column) {
  constexpr int kVector = LayerNormTraits::kVector;
  const auto gamma = args.gamma.template LoadVec<kVector>(column);
  const auto beta = args.beta.template LoadVec<kVector>(column);
  Vec<T, kVector> result;
  SIMT_UNROLL
  for (int k = 0; k < kVector; ++k) {
    result[k] = FromFloat<T>((values[k] - mean) * scale * ToFloat(gamma[k]) + ToFloat(beta[k]));
  }
  args.out.StoreVec(row * args.out_stride + column, result);
}

// REQUIRES: columns <= kSteps * kStep, a multiple of kVector; strides and addresses let vectors be
// loaded.
template <typename T, int kSteps>
SIMT_KERNEL(LayerNormTraits::kThreads, 4)
void LayerNormKernel(LayerNormArgs<T> args) {
  using Traits = LayerNormTraits;
  const int lane = ThreadIdx().x % 32;
  const int64_t row = int64_t{BlockIdx().x} * Traits::kRows + ThreadIdx().x / 32;
  // The whole warp: no lane is missed below.
  if (row >= args.rows) return;

  float values[kSteps][Traits::kVector] = {};
  float sum = 0;
  SIMT_UNROLL
  for (int i = 0; i < kSteps; ++i) {
    const int column = i * Traits::kStep + lane * Traits::kVector;
    if (column >= args.columns) continue;
    AddVector(values[i], args.x, row * args.x_stride + column);
    if (args.bias) AddVector(values[i], args.bias, column);
    if (args.residual) AddVector(values[i], args.residual, row * args.residual_stride + column);
    SIMT_UNROLL
    for (int k = 0; k < Traits::kVector; ++k) sum += values[i][k];
  }
  const float mean = WarpSum(sum) / args.columns;

  float squares = 0;
  SIMT_UNROLL
  for (int i = 0; i < kSteps; ++i) {
    if (i * Traits::kStep + lane * Traits::kVector >= args.columns) continue;
    SIMT_UNROLL
    for (int k = 0; k < Traits::kVector; ++k) {
      squares += (values[i][k] - mean) * (values[i][k] - mean);
    }
  }
  const float scale = Rsqrt(WarpSum(squares) / args.columns + args.eps);

  SIMT_UNROLL
  for (int i = 0; i < kSteps; ++i) {
    const int column = i * Traits::kStep + lane * Traits::kVector;
    if (column < args.columns) StoreNormalized(args, values[i], mean, scale, row, column);
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
