// The engine's names for converting 16-bit floating-point numbers: the kernels' own functions.
#pragma once

#include "kernels/float16.h"

namespace contextpool::engine {

using kernels::BF16FromFloat;
using kernels::F16FromFloat;
using kernels::FloatFromBF16;
using kernels::FloatFromF16;

}  // namespace contextpool::engine
