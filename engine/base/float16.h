// The engine's names for converting 16-bit floating-point numbers: the kernels' own functions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "engine/base/dtype.h"
#include "kernels/float16.h"

namespace contextpool::engine {

using kernels::BF16FromFloat;
using kernels::F16FromFloat;
using kernels::FloatFromBF16;
using kernels::FloatFromF16;

// The values as kF16 or kBF16. REQUIRES: room for as many.
inline void Narrow(std::span<const float> values, DType dtype, uint16_t* out) {
  std::ranges::transform(values, out, dtype == DType::kF16 ? F16FromFloat : BF16FromFloat);
}

}  // namespace contextpool::engine
