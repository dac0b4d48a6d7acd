// The warp's matrix instructions: ldmatrix, stmatrix and mma.sync, on fragments laid out as PTX
// says.
#pragma once

#include <cstdint>

#include "kernels/simt/memory_access.h"
#include "kernels/simt/site.h"

namespace contextpool::kernels::simt {

// PTX ISA 9.7.14.5.15, ldmatrix: `matrices` of 8 x 8 16-bit elements (1, 2 or 4). Lane l gives row
// l % 8 of matrix l / 8, `row` being its 16 bytes; other lanes' rows are not looked at. Fragment m
// of a lane holds elements 2 (l % 4) and + 1 of row l / 4; transposed, those of column l / 4.
void LoadMatrix(int matrices, bool transposed, const ElementRange& row, uint32_t* fragments,
                Site site);

// PTX ISA 9.7.14.5.16, stmatrix: the opposite of LoadMatrix.
void StoreMatrix(int matrices, bool transposed, const ElementRange& row, const uint32_t* fragments,
                 Site site);

enum class MmaKind : uint8_t { kBF16, kF16, kS8 };

// D += A B with A [16, k] by rows and B [k, 8] by columns, k = 16 or 32 (kS8). With g = lane / 4
// and t = lane % 4 (PTX ISA 9.7.14.5.8, 9.7.14.5.10):
//   a[i]: row g + 8 (i % 2), columns k/4 t.. of half i / 2: 2 of 16 bits or 4 of 8 bits
//   b[i]: column g, the same rows of half i
//   d[i]: row g + 8 (i / 2), column 2 t + i % 2
struct MmaArgs {
  // float, or int32_t for kS8.
  uint32_t d[4];
  uint32_t a[4];
  uint32_t b[2];
};

// Products and sums in fp32, k ascending (the order in a tensor core is not specified), or in
// int32.
void Mma(MmaKind kind, MmaArgs* args, Site site);

}  // namespace contextpool::kernels::simt
