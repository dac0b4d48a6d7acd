#include <algorithm>
#include <limits>

#include "kernels/context_pool.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/context_pool_softmax.cuh"
#include "kernels/cuda/context_pool_support.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_half.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

using Traits = ContextPoolSupportTraits;

// Nearly all GPUs have as much for a block.
constexpr int64_t kMostSharedFloats = 72 * 1024 / sizeof(float);
constexpr int64_t kMostBottleneck = 1 << 16;
constexpr int64_t kMostKernelSize = 31;
constexpr int64_t kMostWidth = 1 << 16;
constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

// So many channels of the hidden vectors of a block's tokens and of their neighbours.
int64_t SharedFloats(const ContextPoolSupportParams& p, int channels) {
  const int64_t reach =
      Traits::Reach(static_cast<int>(p.kernel_size), static_cast<int>(p.grid_width));
  return (Traits::kTokens + 2 * reach) * Traits::Pitch(channels);
}

// Channels that a block holds at once: as many as fit it, in whole pitches.
int PieceOf(const ContextPoolSupportParams& p) {
  auto piece = static_cast<int>(p.bottleneck);
  while (piece > Traits::kLeastPiece && SharedFloats(p, piece) > kMostSharedFloats) {
    piece = Traits::Pitch(piece) - Traits::kPitchStep;
  }
  return piece;
}

bool HasNetworkShape(const ContextPoolSupportParams& p) {
  return p.conv2_weight != nullptr && p.conv2_bias != nullptr && p.kernel_size > 0 &&
         p.kernel_size <= kMostKernelSize && p.kernel_size % 2 == 1 && p.bottleneck > 0 &&
         p.bottleneck <= kMostBottleneck && p.taps_stride <= kMost &&
         AreMultiplesOf(Traits::kVector, {p.bottleneck, p.taps_stride}) &&
         AreVectorAligned({p.taps, p.conv2_weight}) &&
         p.taps_stride >= PoolTaps(p.kernel_size, p.grid_width) * p.bottleneck &&
         SharedFloats(p, Traits::kLeastPiece) <= kMostSharedFloats;
}

bool IsSupported(const ContextPoolSupportParams& p) {
  const bool learned = Learned(p.weight, p.size);
  return p.sequences >= 0 && p.tokens >= 0 && p.tokens + p.sequences <= kMost && p.prefix >= 0 &&
         p.grid_width >= 0 && p.grid_width <= kMostWidth && p.r >= 0 && p.fixed_n >= 0 &&
         p.fixed_size >= 0 && (p.taps != nullptr) == learned && (!learned || HasNetworkShape(p));
}

PoolNumbers NumbersOf(const ContextPoolSupportParams& p) {
  return {.weight = p.weight,
          .size = p.size,
          .fixed_size = p.fixed_size,
          .r = p.r,
          .fixed_n = p.fixed_n,
          .n_is_side = p.n_is_side};
}

int PrefixOf(const ContextPoolSupportParams& p) {
  return static_cast<int>(std::min(p.prefix, p.tokens));
}

template <typename T>
ContextPoolSupportArgs<T> ArgsOf(const ContextPoolSupportParams& p) {
  const int64_t taps = PoolTaps(p.kernel_size, p.grid_width) * p.bottleneck;
  return {.taps = Rows<const uint32_t>(p.taps, p.tokens, taps / 2, p.taps_stride / 2),
          .conv2_weight = {p.conv2_weight, 2 * taps},
          .conv2_bias = {p.conv2_bias, 2},
          .cu_lengths = {p.cu_lengths, p.sequences + 1},
          .log_weight = {p.log_weight, p.tokens},
          .support_size = {p.support_size, p.tokens},
          .numbers = NumbersOf(p),
          .sequences = static_cast<int>(p.sequences),
          .prefix = PrefixOf(p),
          .grid_width = static_cast<int>(p.grid_width),
          .kernel_size = static_cast<int>(p.kernel_size),
          .bottleneck = static_cast<int>(p.bottleneck),
          .piece = PieceOf(p),
          .taps_stride = static_cast<int>(p.taps_stride)};
}

template <typename T, Activation kActivation>
Status LaunchNetwork(const ContextPoolSupportParams& p, StreamHandle stream) {
  const int64_t tiles = TileNumbers(p.tokens, p.sequences, Traits::kTokens);
  const size_t shared_floats = p.taps == nullptr ? 0 : SharedFloats(p, PieceOf(p));
  const LaunchConfig config = {.kernel = "context_pool_support",
                               .grid = {static_cast<uint32_t>(tiles)},
                               .block = {Traits::kThreads},
                               .shared_bytes = shared_floats * sizeof(float)};
  return Launch(config, stream, ContextPoolSupportKernel<T, kActivation>, ArgsOf<T>(p));
}

template <typename T>
Status LaunchNetwork(const ContextPoolSupportParams& p, StreamHandle stream) {
  switch (p.activation) {
    case Activation::kNone:
      return LaunchNetwork<T, Activation::kNone>(p, stream);
    case Activation::kGelu:
      return LaunchNetwork<T, Activation::kGelu>(p, stream);
    case Activation::kRelu:
      return LaunchNetwork<T, Activation::kRelu>(p, stream);
    case Activation::kLeakyRelu:
      return LaunchNetwork<T, Activation::kLeakyRelu>(p, stream);
    default:
      return Status::kBadShape;
  }
}

Status LaunchSoftmax(const ContextPoolSupportParams& p, StreamHandle stream) {
  const PoolSoftmaxArgs args = {.cu_lengths = {p.cu_lengths, p.sequences + 1},
                                .log_weight = {p.log_weight, p.tokens},
                                .support_size = {p.support_size, p.tokens},
                                .numbers = NumbersOf(p),
                                .prefix = PrefixOf(p),
                                .grid_width = static_cast<int>(p.grid_width)};
  const LaunchConfig config = {.kernel = "context_pool_softmax",
                               .grid = {static_cast<uint32_t>(p.sequences)},
                               .block = {Traits::kThreads}};
  return Launch(config, stream, PoolSoftmaxKernel<Traits::kThreads>, args);
}

template <typename T>
Status LaunchFor(const ContextPoolSupportParams& p, StreamHandle stream) {
  const Status status = LaunchNetwork<T>(p, stream);
  const bool has_softmax = p.weight == PoolWeight::kSoftmax || p.size == SupportSize::kSoftmax;
  return status == Status::kOk && has_softmax ? LaunchSoftmax(p, stream) : status;
}

}  // namespace

Status ContextPoolSupport(const ContextPoolSupportParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.sequences == 0 || params.tokens == 0) return Status::kOk;
  return WithHalf(params.dtype,
                  [&]<typename T>(std::type_identity<T>) { return LaunchFor<T>(params, stream); });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
