#include <limits>
#include <numbers>

#include "kernels/attention.h"
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/check.h"
#include "kernels/cuda/with_half.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

// Head sizes that have the registers for blocks of 128 queries.
constexpr int kMostLongHeadSize = 64;

bool IsSupported(const AttentionParams& p) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  // Of the grid's second dimension.
  constexpr int64_t kMostHeads = 65535;
  return AreVectorAligned({p.qkv, p.out}) && p.tokens >= 0 && p.sequences >= 0 &&
         p.tokens + p.sequences <= kMost && p.heads > 0 && p.heads <= kMostHeads &&
         p.max_length >= 0 && p.scale > 0 && p.sequences * p.heads <= kMost;
}

// Whether blocks of 128 queries are better than those of 64: where they are full, and more than
// enough to keep the device busy.
bool TakesLongTiles(const AttentionParams& p, int processors) {
  constexpr int64_t kLongLength = 257;
  constexpr int64_t kRows = AttentionTraits<kMostLongHeadSize, 2>::kRows;
  const int64_t blocks = TileNumbers(p.tokens, p.sequences, kRows) * p.heads;
  return p.max_length >= kLongLength && p.tokens >= kRows * p.sequences && blocks >= 4 * processors;
}

template <typename T>
AttentionArgs<T> ArgsOf(const AttentionParams& p) {
  const int64_t size = p.tokens * p.heads * p.head_size;
  return {.qkv = {static_cast<const T*>(p.qkv), 3 * size},
          .cu_lengths = {p.cu_lengths, p.sequences + 1},
          .out = {static_cast<T*>(p.out), size},
          .sequences = static_cast<int>(p.sequences),
          .heads = static_cast<int>(p.heads),
          .exponent_scale = p.scale * std::numbers::log2e_v<float>};
}

template <typename T, int kHeadSize, int kMTiles>
Status LaunchTiles(const AttentionParams& p, StreamHandle stream) {
  using Traits = AttentionTraits<kHeadSize, kMTiles>;
  const int64_t tiles = TileNumbers(p.tokens, p.sequences, Traits::kRows);
  const LaunchConfig config = {
      .kernel = "attention",
      .grid = {static_cast<uint32_t>(tiles), static_cast<uint32_t>(p.heads)},
      .block = {Traits::kThreads},
      .shared_bytes = Traits::kSharedBytes};
  return Launch(config, stream, AttentionKernel<T, kHeadSize, kMTiles>, ArgsOf<T>(p));
}

template <typename T, int kHeadSize>
Status LaunchShort(const AttentionParams& p, StreamHandle stream) {
  using Traits = ShortAttentionTraits<kHeadSize>;
  const LaunchConfig config = {.kernel = "attention_short",
                               .grid = {BlocksFor(p.sequences * p.heads, Traits::kWarps)},
                               .block = {Traits::kThreads},
                               .shared_bytes = Traits::kSharedBytes};
  return Launch(config, stream, ShortAttentionKernel<T, kHeadSize>, ArgsOf<T>(p));
}

template <typename T, int kHeadSize>
Status LaunchFor(const AttentionParams& p, StreamHandle stream) {
  if (p.max_length <= ShortAttentionTraits<kHeadSize>::kRows) {
    return LaunchShort<T, kHeadSize>(p, stream);
  }
  if constexpr (kHeadSize <= kMostLongHeadSize) {
    if (TakesLongTiles(p, LimitsOf(stream).processors)) {
      return LaunchTiles<T, kHeadSize, 2>(p, stream);
    }
  }
  return LaunchTiles<T, kHeadSize, 1>(p, stream);
}

template <typename T>
Status LaunchFor(const AttentionParams& p, StreamHandle stream) {
  switch (p.head_size) {
    case 32:
      return LaunchFor<T, 32>(p, stream);
    case 64:
      return LaunchFor<T, 64>(p, stream);
    case 128:
      return LaunchFor<T, 128>(p, stream);
    default:
      return Status::kBadShape;
  }
}

}  // namespace

Status Attention(const AttentionParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.sequences == 0 || params.tokens == 0 || params.max_length == 0) return Status::kOk;
  return WithHalf(params.dtype,
                  [&]<typename T>(std::type_identity<T>) { return LaunchFor<T>(params, stream); });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
