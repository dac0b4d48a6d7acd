// The engine's name for element types: the kernels' own enum.
#pragma once

#include "kernels/dtype.h"

namespace contextpool::engine {

using kernels::DType;

}  // namespace contextpool::engine
