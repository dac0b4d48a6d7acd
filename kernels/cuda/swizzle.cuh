// How rows of 16-bit elements lie in shared memory, so that matrix instructions meet no bank twice.
#pragma once

#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// By how much the chunks of a row, 8 elements each, are permuted (exclusive or) in a tile
// of kPitch columns: so that one chunk of 8 neighbouring rows, and 8 chunks that follow each other,
// cover all banks.
template <int kPitch>
SIMT_DEVICE int Turn(int row) {
  static_assert(kPitch == 32 || kPitch % 64 == 0);
  // Two rows of 32 elements share the 128 bytes of the banks.
  return kPitch == 32 ? row >> 1 & 3 : row & 7;
}

// The first element of chunk `chunk` of row `row`.
template <int kPitch>
SIMT_DEVICE int Swizzled(int row, int chunk) {
  return row * kPitch + (chunk ^ Turn<kPitch>(row)) * 8;
}

// The same for places that lie whole matrices apart: Swizzled(row + rows, chunk + chunks) for a row
// and a chunk, 0 or 1, that only the lane knows. One exclusive or for each `chunks`.
template <int kPitch>
class LanePlace {
 public:
  SIMT_DEVICE LanePlace(int row, int chunk)
      : row_(row * kPitch), swizzle_((chunk ^ Turn<kPitch>(row)) * 8) {}

  // REQUIRES: `rows` a multiple of 8, `chunks` even.
  SIMT_DEVICE int operator()(int rows, int chunks) const {
    return row_ + rows * kPitch + (chunks * 8 ^ swizzle_);
  }

 private:
  int row_;
  int swizzle_;
};

// Of the two kinds of matrix fragments: those whose rows follow each other, and a right factor's
// that is stored as its transpose.
template <int kPitch>
SIMT_DEVICE LanePlace<kPitch> RowsPlace() {
  const int lane = ThreadIdx().x % 32;
  return {lane % 16, lane / 16};
}
template <int kPitch>
SIMT_DEVICE LanePlace<kPitch> ColumnsPlace() {
  const int lane = ThreadIdx().x % 32;
  return {lane / 16 * 8 + lane % 8, lane / 8 % 2};
}

}  // namespace contextpool::kernels::SIMT_BACKEND
