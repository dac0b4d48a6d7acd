#include <limits>

#include "kernels/cuda/check.h"
#include "kernels/cuda/im2col.cuh"
#include "kernels/cuda/row_launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_half.cuh"
#include "kernels/im2col.h"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

// Of an image's side, so that the bytes of an image fit an int.
constexpr int64_t kMaxSide = 1 << 14;

// Elements that a thread loads and stores at once, if lines and patches allow it.
constexpr int kWide = 8;
constexpr int kNarrow = 2;

int64_t LineBytes(const Im2ColParams& p) { return p.width * kPixelChannels; }

bool ArePatches(const Im2ColParams& p) {
  return p.x == nullptr && p.pixels != nullptr && p.channels == kPixelChannels &&
         p.window.stride == p.window.size && p.window.padding == 0 && Fits(p.window, p.height) &&
         Fits(p.window, p.width) && p.height <= kMaxSide && p.width <= kMaxSide;
}

bool LetsVectors(const Im2ColParams& p, int64_t vector) {
  return AreMultiplesOf(vector, {p.window.size * kPixelChannels, LineBytes(p)});
}

bool IsSupported(const Im2ColParams& p) {
  constexpr int64_t kMaxRows = std::numeric_limits<int32_t>::max();
  return ArePatches(p) && LetsVectors(p, kNarrow) && AreVectorAligned({p.pixels, p.out}) &&
         p.first_row >= 0 && p.rows >= 0 && p.first_row <= kMaxRows &&
         p.rows <= kMaxRows - p.first_row;
}

template <typename T>
PatchRowsArgs<T> ArgsOf(const Im2ColParams& p) {
  const int64_t columns = Outputs(p.window, p.width), rows = Outputs(p.window, p.height);
  const int64_t first_strip = p.first_row / columns;
  const int64_t last_strip = (p.first_row + p.rows - 1) / columns;
  const int64_t last_line =
      last_strip / rows * p.height + (last_strip % rows + 1) * p.window.size - 1;
  const int64_t row_elements = p.window.size * p.window.size * kPixelChannels;
  return {.pixels = {p.pixels, (last_line + 1) * LineBytes(p)},
          .out = Rows<T>(p.out, p.rows, row_elements, row_elements),
          .scale = {p.scale[0], p.scale[1], p.scale[2]},
          .offset = {p.offset[0], p.offset[1], p.offset[2]},
          .size = static_cast<int>(p.window.size),
          .height = static_cast<int>(p.height),
          .line_bytes = static_cast<int>(LineBytes(p)),
          .patch_rows = static_cast<int>(rows),
          .patch_columns = static_cast<int>(columns),
          .first_strip = static_cast<int>(first_strip),
          .strips = static_cast<int>(last_strip - first_strip + 1),
          .first_row = static_cast<int>(p.first_row),
          .rows = static_cast<int>(p.rows)};
}

template <typename T, int kVector>
Status LaunchFor(const Im2ColParams& p, StreamHandle stream) {
  const PatchRowsArgs<T> args = ArgsOf<T>(p);
  return Launch(
      RowLaunch("patch_rows", int64_t{args.strips} * args.size,
                args.patch_columns * p.window.size * kPixelChannels, PatchLine<kVector>::kColumns),
      stream, PatchRowsKernel<T, kVector>, args);
}

}  // namespace

Status Im2Col(const Im2ColParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.rows == 0) return Status::kOk;
  return WithHalf(params.dtype, [&]<typename T>(std::type_identity<T>) {
    return LetsVectors(params, kWide) ? LaunchFor<T, kWide>(params, stream)
                                      : LaunchFor<T, kNarrow>(params, stream);
  });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
