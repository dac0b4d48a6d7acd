// The normalisation of LayerNorm, for a row that a warp holds.
#pragma once

#include <cstdint>

#include "kernels/cuda/warp_reduce.cuh"
#include "kernels/cuda/warp_row.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct NormArgs {
  Global<const T> gamma;
  Global<const T> beta;
  float eps;
};

// Writes (row - mean) / sqrt(variance + eps) * gamma + beta to elements [begin, begin + columns) of
// `out`. All lanes of the warp come here.
template <int kSteps, typename T>
SIMT_DEVICE void StoreNormalized(WarpRow<kSteps>& row, const NormArgs<T>& norm, Global<T> out,
                                 int64_t begin) {
  constexpr int kVector = RowTraits::kVector;
  const float mean = WarpSum(row.LaneSum([](float value) { return value; })) / row.columns();
  const float squares =
      WarpSum(row.LaneSum([&](float value) { return (value - mean) * (value - mean); }));
  const float scale = Rsqrt(squares / row.columns() + norm.eps);
  row.ForVectors([&](const float* values, int column) {
    const auto gamma = norm.gamma.template LoadVec<kVector>(column);
    const auto beta = norm.beta.template LoadVec<kVector>(column);
    Vec<T, kVector> result;
    SIMT_UNROLL
    for (int k = 0; k < kVector; ++k) {
      result[k] = FromFloat<T>((values[k] - mean) * scale * ToFloat(gamma[k]) + ToFloat(beta[k]));
    }
    out.StoreVec(begin + column, result);
  });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
