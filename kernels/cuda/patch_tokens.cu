#include <limits>

#include "kernels/cuda/check.h"
#include "kernels/cuda/patch_tokens.cuh"
#include "kernels/cuda/row_launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_half.cuh"
#include "kernels/patch_tokens.h"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

// A grid has up to 65535 blocks side by side, of 512 columns.
constexpr int64_t kMaxColumns = 1 << 24;

bool IsSupported(const PatchTokensParams& p) {
  return p.images >= 0 && p.prefix >= 0 && p.tokens >= p.prefix && p.columns > 0 &&
         p.columns <= kMaxColumns && AreMultiplesOf(RowTraits::kVector, {p.columns}) &&
         AreVectorAligned({p.patches, p.table, p.out}) &&
         (p.tokens == 0 || p.images < std::numeric_limits<int32_t>::max() / p.tokens);
}

template <typename T>
Status LaunchFor(const PatchTokensParams& p, StreamHandle stream) {
  const int64_t rows = p.images * p.tokens;
  const PatchTokensArgs<T> args = {
      .patches = Rows<const T>(p.patches, p.images * (p.tokens - p.prefix), p.columns, p.columns),
      .table = Rows<const T>(p.table, p.tokens, p.columns, p.columns),
      .out = Rows<T>(p.out, rows, p.columns, p.columns),
      .rows = static_cast<int>(rows),
      .tokens = static_cast<int>(p.tokens),
      .prefix = static_cast<int>(p.prefix),
      .columns = static_cast<int>(p.columns)};
  return Launch(RowLaunch("patch_tokens", rows, p.columns, PatchTokensRow::kColumns), stream,
                PatchTokensKernel<T>, args);
}

}  // namespace

Status PatchTokens(const PatchTokensParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.images * params.tokens == 0) return Status::kOk;
  return WithHalf(params.dtype,
                  [&]<typename T>(std::type_identity<T>) { return LaunchFor<T>(params, stream); });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
