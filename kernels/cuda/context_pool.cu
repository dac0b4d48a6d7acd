#include <algorithm>
#include <limits>

#include "kernels/context_pool.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/context_pool.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_half.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

// Each tile of 64 tokens takes a byte of shared memory.
constexpr int64_t kMostLength = 1 << 16;
constexpr int64_t kMostColumns = 1 << 20;

bool IsSupported(const ContextPoolParams& p) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const bool is_aligned = AreVectorAligned({p.x, p.out}) &&
                          AreMultiplesOf(PoolTile::kVector, {p.columns, p.x_stride, p.out_stride});
  return is_aligned && p.sequences >= 0 && p.tokens >= 0 && p.tokens + p.sequences <= kMost &&
         p.max_length >= 0 && p.max_length <= kMostLength && p.prefix >= 0 && p.grid_width >= 0 &&
         p.columns > 0 && p.columns <= kMostColumns && p.x_stride >= p.columns &&
         p.out_stride >= p.columns && p.skip_bits >= 0 && p.outputs.rows == 0;
}

template <typename T>
ContextPoolArgs<T> ArgsOf(const ContextPoolParams& p) {
  return {.x = Rows<const T>(p.x, p.tokens, p.columns, p.x_stride),
          .log_weight = {p.log_weight, p.tokens},
          .support_size = {p.support_size, p.tokens},
          .cu_lengths = {p.cu_lengths, p.sequences + 1},
          .out = Rows<T>(p.out, p.tokens, p.columns, p.out_stride),
          .tiles = {reinterpret_cast<int64_t*>(p.tiles), p.tiles == nullptr ? 0 : 2},
          .normalization = p.normalization,
          .residual = p.residual,
          .gate = p.gate,
          .skip_bits = p.skip_bits,
          .sequences = static_cast<int>(p.sequences),
          .max_tiles = static_cast<int>(BlocksFor(p.max_length, PoolTile::kTokens)),
          .prefix = static_cast<int>(std::min(p.prefix, p.max_length)),
          .grid_width = static_cast<int>(std::min(p.grid_width, p.max_length)),
          .columns = static_cast<int>(p.columns),
          .x_stride = p.x_stride,
          .out_stride = p.out_stride};
}

template <typename T, int kColumns>
Status LaunchFor(const ContextPoolParams& p, StreamHandle stream) {
  using Traits = ContextPoolTraits<kColumns>;
  const ContextPoolArgs<T> args = ArgsOf<T>(p);
  const int64_t tiles = TileNumbers(p.tokens, p.sequences, Traits::kRows);
  const LaunchConfig config = {
      .kernel = "context_pool",
      .grid = {static_cast<uint32_t>(tiles), BlocksFor(p.columns, kColumns)},
      .block = {Traits::kThreads},
      .shared_bytes = Traits::SharedBytes(args.max_tiles)};
  return Launch(config, stream, ContextPoolKernel<T, kColumns>, args);
}

// The wider block makes fewer weights; the narrower one leaves fewer columns unused, and two of it
// share a processor.
template <typename T>
Status LaunchWithColumns(const ContextPoolParams& p, StreamHandle stream) {
  const auto padded = [&](int64_t columns) { return BlocksFor(p.columns, columns) * columns; };
  return padded(384) <= padded(256) ? LaunchFor<T, 384>(p, stream) : LaunchFor<T, 256>(p, stream);
}

}  // namespace

Status ContextPool(const ContextPoolParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.sequences == 0 || params.tokens == 0) return Status::kOk;
  return WithHalf(params.dtype, [&]<typename T>(std::type_identity<T>) {
    return LaunchWithColumns<T>(params, stream);
  });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
