// The tokens that enter an image transformer: one warp for each token and each few hundred columns.
//
// Memory traffic: patches and out once each; the table stays in the second-level cache.
#pragma once

#include <cstdint>

#include "kernels/cuda/warp_row.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct PatchTokensArgs {
  Global<const T> patches;
  Global<const T> table;
  Global<T> out;
  // Of all images.
  int rows;
  // Of one image.
  int tokens;
  int prefix;
  int columns;
};

using PatchTokensRow = WarpRow<2>;

// REQUIRES: columns a multiple of kVector; addresses let vectors be loaded.
template <typename T>
SIMT_KERNEL(RowTraits::kThreads, 8)
void PatchTokensKernel(PatchTokensArgs<T> args) {
  const auto row = static_cast<int>(RowOfWarp());
  if (row >= args.rows) return;
  const int image = row / args.tokens;
  const int token = row - image * args.tokens;
  PatchTokensRow values(args.columns, static_cast<int>(BlockIdx().y) * PatchTokensRow::kColumns);
  values.Add(args.table, int64_t{token} * args.columns);
  if (token >= args.prefix) {
    // Before this one: the patches of each image, and its prefix.
    values.Add(args.patches, int64_t{row - (image + 1) * args.prefix} * args.columns);
  }
  values.Store(args.out, int64_t{row} * args.columns, [](float value) { return value; });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
