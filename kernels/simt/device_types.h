// The 16-bit types of emulated kernels. See kernels/cuda/primitives.cuh.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/vec.cuh"
#include "kernels/float16.h"

namespace contextpool::kernels::emulated {

struct BF16 {
  uint16_t bits;
};

struct F16 {
  uint16_t bits;
};

constexpr float ToFloat(float value) { return value; }
constexpr float ToFloat(BF16 value) { return FloatFromBF16(value.bits); }
constexpr float ToFloat(F16 value) { return FloatFromF16(value.bits); }

template <typename T>
constexpr T FromFloat(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else if constexpr (std::is_same_v<T, BF16>) {
    return {BF16FromFloat(value)};
  } else {
    static_assert(std::is_same_v<T, F16>);
    return {F16FromFloat(value)};
  }
}

template <typename T>
constexpr uint32_t Pack(float low, float high) {
  static_assert(sizeof(T) == 2);
  return FromFloat<T>(low).bits | static_cast<uint32_t>(FromFloat<T>(high).bits) << 16;
}

template <typename T>
constexpr Vec<float, 2> Unpack(uint32_t pair) {
  static_assert(sizeof(T) == 2);
  return {ToFloat(T{static_cast<uint16_t>(pair)}), ToFloat(T{static_cast<uint16_t>(pair >> 16)})};
}

}  // namespace contextpool::kernels::emulated
