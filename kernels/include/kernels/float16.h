// Conversion between float32 and the 16-bit formats: exact one way, the other to nearest with ties
// to even. Subnormal numbers, infinities and NaN included.
#pragma once

#include <bit>
#include <cstdint>

namespace contextpool::kernels {

// What the GPU makes of every NaN (PTX cvt.rn.f16.f32 and cvt.rn.bf16.f32).
constexpr uint16_t kCanonicalNan = 0x7fff;

constexpr bool IsNan(uint32_t float_bits) { return (float_bits & 0x7fffffff) > 0x7f800000; }

// bfloat16: the upper half of a float.
constexpr float FloatFromBF16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

constexpr uint16_t BF16FromFloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (IsNan(bits)) return kCanonicalNan;
  // Half of the last place, less one if that place is even: ties go to even.
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// IEEE 754 binary16: 1 sign bit, 5 of exponent, 10 of mantissa.
constexpr float FloatFromF16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t rest = bits & 0x7fff;
  if (rest >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  // Shifted into place the exponent is 112 too small; the product is exact, subnormals included.
  const float magnitude = std::bit_cast<float>(rest << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

constexpr uint16_t F16FromFloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (IsNan(bits)) return kCanonicalNan;
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  // From here on all values round to infinity: 65520 = (65504 + 65536) / 2.
  if (magnitude >= std::bit_cast<uint32_t>(65520.0f)) return sign | 0x7c00;
  if (magnitude < std::bit_cast<uint32_t>(0x1p-14f)) {
    // Subnormal, a multiple of 2^-24: adding 0.5 leaves the rounding to the float addition.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000);
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded - (112u << 23)) >> 13);
}

}  // namespace contextpool::kernels
