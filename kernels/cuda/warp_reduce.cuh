// Sums and extremes over the 32 lanes of a warp; every lane gets the result.
#pragma once

#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// Adds in the order of a butterfly, so that all lanes hold the same bits.
SIMT_DEVICE float WarpSum(float value) {
  SIMT_UNROLL
  for (int lanes = 16; lanes > 0; lanes /= 2) value += ShuffleXor(value, lanes);
  return value;
}

}  // namespace contextpool::kernels::SIMT_BACKEND
