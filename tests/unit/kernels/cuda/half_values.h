// The 16-bit formats on the host's side of a test, as their bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/dtype.h"
#include "kernels/float16.h"

namespace contextpool::kernels {

inline uint16_t ToHalf(DType dtype, float value) {
  return dtype == DType::kBF16 ? BF16FromFloat(value) : F16FromFloat(value);
}

inline float FromHalf(DType dtype, uint16_t bits) {
  return dtype == DType::kBF16 ? FloatFromBF16(bits) : FloatFromF16(bits);
}

inline std::vector<uint16_t> ToHalf(DType dtype, const std::vector<float>& values) {
  std::vector<uint16_t> result;
  for (const float value : values) result.push_back(ToHalf(dtype, value));
  return result;
}

// The largest rounding error of a value near `value`: half a unit in the last place.
inline double RoundingError(DType dtype, double value) {
  const bool is_bf16 = dtype == DType::kBF16;
  // Of the smallest normal number and below, the unit is that of the subnormals.
  const double smallest = is_bf16 ? 0x1p-126 : 0x1p-14;
  return std::max(std::abs(value), smallest) * (is_bf16 ? 0x1p-8 : 0x1p-11);
}

}  // namespace contextpool::kernels
