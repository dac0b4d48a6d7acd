// Sums and extremes over the 32 lanes of a warp, or over each kLanes neighbouring ones; every lane
// gets the result.
#pragma once

#include <cmath>

#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// Adds in the order of a butterfly, so that all lanes hold the same bits.
template <int kLanes = 32>
SIMT_DEVICE float WarpSum(float value) {
  SIMT_UNROLL
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) value += ShuffleXor(value, lanes);
  return value;
}

// These two overlook NaN.
template <int kLanes = 32>
SIMT_DEVICE float WarpMax(float value) {
  SIMT_UNROLL
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2)
    value = fmaxf(value, ShuffleXor(value, lanes));
  return value;
}
template <int kLanes = 32>
SIMT_DEVICE float WarpMin(float value) {
  SIMT_UNROLL
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2)
    value = fminf(value, ShuffleXor(value, lanes));
  return value;
}

}  // namespace contextpool::kernels::SIMT_BACKEND
