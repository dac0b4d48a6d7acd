// uint8 pixels to the rows of patches that an image transformer projects: one warp for each line of
// an image and each part of it.
//
// Memory traffic: each pixel is read once, each element of out written once. A warp reads
// neighbouring bytes, and writes a piece of `size` pixels to each of a few neighbouring rows.
#pragma once

#include <cstdint>

#include "kernels/cuda/warp_row.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct PatchRowsArgs {
  Global<const uint8_t> pixels;
  Global<T> out;
  // value = pixel * scale + offset, by channel.
  float scale[3];
  float offset[3];
  // Pixels of a patch's side.
  int size;
  // Of an image: its lines of pixels, bytes of a line, rows and columns of patches.
  int height;
  int line_bytes;
  int patch_rows;
  int patch_columns;
  // Rows of patches, counted through all images, from `first_strip` on.
  int first_strip;
  int strips;
  // Rows [first_row, first_row + rows) of the whole matrix are written.
  int first_row;
  int rows;
};

// A line of 224 pixels in one go.
template <int kVector>
using PatchLine = WarpRow<4, kVector>;

// values[channel], by comparisons: to index an array by what only the lane knows, it would have to
// lie in memory.
SIMT_DEVICE float OfChannel(const float* values, int channel) {
  return channel == 0 ? values[0] : channel == 1 ? values[1] : values[2];
}

// The kVector neighbours, the first of which is of channel `channel`, as numbers.
template <typename T, int kVector>
SIMT_DEVICE Vec<T, kVector> Scaled(const PatchRowsArgs<T>& args, const float* pixels, int channel) {
  float scale[3], offset[3];
  SIMT_UNROLL
  for (int k = 0; k < 3; ++k) {
    const int of = channel + k < 3 ? channel + k : channel + k - 3;
    scale[k] = OfChannel(args.scale, of);
    offset[k] = OfChannel(args.offset, of);
  }
  Vec<T, kVector> result;
  SIMT_UNROLL
  for (int k = 0; k < kVector; ++k) {
    result[k] = FromFloat<T>(pixels[k] * scale[k % 3] + offset[k % 3]);
  }
  return result;
}

// REQUIRES: 3 * size and line_bytes multiples of kVector; addresses let vectors be loaded.
template <typename T, int kVector>
SIMT_KERNEL(RowTraits::kThreads, 8)
void PatchRowsKernel(PatchRowsArgs<T> args) {
  using Line = PatchLine<kVector>;
  const int64_t line = RowOfWarp();
  if (line >= int64_t{args.strips} * args.size) return;
  const int strip = static_cast<int>(line / args.size);
  const int y = static_cast<int>(line - int64_t{strip} * args.size);
  const int image = (args.first_strip + strip) / args.patch_rows;
  const int patch_row = args.first_strip + strip - image * args.patch_rows;
  const int piece = 3 * args.size;

  Line values(args.patch_columns * piece, static_cast<int>(BlockIdx().y) * Line::kColumns);
  const int64_t image_line = int64_t{image} * args.height + patch_row * args.size + y;
  values.Add(args.pixels, image_line * args.line_bytes);
  values.ForVectors([&](const float* pixels, int column) {
    const int patch = column / piece;
    const int64_t row =
        int64_t{args.first_strip + strip} * args.patch_columns + patch - args.first_row;
    if (row < 0 || row >= args.rows) return;
    const int64_t to = row * args.size * piece + y * piece + column - patch * piece;
    args.out.StoreVec(to, Scaled<T, kVector>(args, pixels, column % 3));
  });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
