// Exact conversion of 16-bit floating-point numbers, subnormals, infinities and NaN included.
#pragma once

#include <bit>
#include <cstdint>

namespace contextpool::engine {

// IEEE 754 binary16: 1 sign bit, 5 of exponent, 10 of mantissa.
inline float FloatFromF16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  uint32_t bits;
  if (exponent == 0) {
    // Zero or subnormal: a multiple of 2^-24, which float32 holds as a normal number.
    bits = std::bit_cast<uint32_t>(static_cast<float>(mantissa) * 0x1p-24f);
  } else if (exponent == 0x1f) {
    bits = 0x7f800000 | mantissa << 13;
  } else {
    bits = (exponent + (127 - 15)) << 23 | mantissa << 13;
  }
  return std::bit_cast<float>(sign | bits);
}

// bfloat16: the upper half of a float32.
inline float FloatFromBF16(uint16_t brain) {
  return std::bit_cast<float>(static_cast<uint32_t>(brain) << 16);
}

}  // namespace contextpool::engine
