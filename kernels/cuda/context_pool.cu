#include <algorithm>
#include <limits>

#include "kernels/context_pool.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/context_pool.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_half.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

using Traits = ContextPoolTraits;

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
// Each tile of tokens takes a byte of shared memory.
constexpr int64_t kMostLength = 1 << 16;
constexpr int64_t kMostColumns = 1 << 20;

bool IsSupported(const ContextPoolParams& p) {
  const bool is_aligned = AreVectorAligned({p.x, p.out}) &&
                          AreMultiplesOf(PoolTile::kVector, {p.columns, p.x_stride, p.out_stride});
  return is_aligned && p.sequences >= 0 && p.tokens >= 0 && p.tokens + p.sequences <= kMost &&
         p.max_length >= 0 && p.max_length <= kMostLength && p.prefix >= 0 && p.grid_width >= 0 &&
         p.columns > 0 && p.columns <= kMostColumns && p.x_stride >= p.columns &&
         p.x_stride <= kMost && p.out_stride >= p.columns && p.out_stride <= kMost &&
         p.skip_bits >= 0 && p.outputs.rows == 0;
}

template <typename T>
ContextPoolArgs<T> ArgsOf(const ContextPoolParams& p) {
  return {.x = Rows<const T>(p.x, p.tokens, p.columns, p.x_stride),
          .x_pairs = Rows<const uint32_t>(p.x, p.tokens, p.columns / 2, p.x_stride / 2),
          .log_weight = {p.log_weight, p.tokens},
          .support_size = {p.support_size, p.tokens},
          .cu_lengths = {p.cu_lengths, p.sequences + 1},
          .out_pairs = Rows<uint32_t>(p.out, p.tokens, p.columns / 2, p.out_stride / 2),
          .tiles = {reinterpret_cast<int64_t*>(p.tiles), p.tiles == nullptr ? 0 : 2},
          .normalization = p.normalization,
          .residual = p.residual,
          .gate = p.gate,
          .skip_bits = p.skip_bits,
          .sequences = static_cast<int>(p.sequences),
          .prefix = static_cast<int>(std::min(p.prefix, p.max_length)),
          .grid_width = static_cast<int>(std::min(p.grid_width, p.max_length)),
          .max_tiles = PoolTile::Count(static_cast<int>(p.max_length)),
          .columns = static_cast<int>(p.columns),
          .x_stride = static_cast<int>(p.x_stride),
          .out_stride = static_cast<int>(p.out_stride)};
}

template <typename T>
Status LaunchFor(const ContextPoolParams& p, StreamHandle stream) {
  const ContextPoolArgs<T> args = ArgsOf<T>(p);
  const int64_t tiles = TileNumbers(p.tokens, p.sequences, Traits::kRows);
  const LaunchConfig config = {
      .kernel = "context_pool",
      .grid = {static_cast<uint32_t>(tiles), BlocksFor(p.columns, Traits::kColumns)},
      .block = {Traits::kThreads},
      .shared_bytes = Traits::SharedBytes(args.max_tiles)};
  return p.grid_width > 0 ? Launch(config, stream, ContextPoolKernel<T, true>, args)
                          : Launch(config, stream, ContextPoolKernel<T, false>, args);
}

}  // namespace

Status ContextPool(const ContextPoolParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.sequences == 0 || params.tokens == 0 || params.max_length == 0) return Status::kOk;
  return WithHalf(params.dtype,
                  [&]<typename T>(std::type_identity<T>) { return LaunchFor<T>(params, stream); });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
