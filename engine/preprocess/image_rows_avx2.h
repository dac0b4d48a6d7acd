// RowFunctions for x86-64 with AVX2.
#pragma once

#include "engine/preprocess/image_rows.h"

namespace contextpool::engine {

#if defined(__x86_64__)
// REQUIRES: a CPU with AVX2.
const RowFunctions& Avx2Rows();
#endif

}  // namespace contextpool::engine
