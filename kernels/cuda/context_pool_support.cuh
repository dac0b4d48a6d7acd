// ContextPoolSupport: the parameter network behind its first convolution's products. A block makes
// the two numbers of 64 tokens; it computes the hidden vectors of their neighbours too, so that
// blocks do not wait for each other. A softmax over the sequence is a second kernel,
// context_pool_softmax.cuh.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/activate.cuh"
#include "kernels/cuda/context_pool_numbers.cuh"
#include "kernels/cuda/context_pool_tokens.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/sequence_tiles.cuh"
#include "kernels/cuda/warp_reduce.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct ContextPoolSupportArgs {
  // In pairs. Null: there is no network.
  Global<const uint32_t> taps;
  Global<const float> conv2_weight;
  Global<const float> conv2_bias;
  Global<const int32_t> cu_lengths;
  Global<float> log_weight;
  Global<float> support_size;
  PoolNumbers numbers;
  int sequences;
  int prefix;
  int grid_width;
  int kernel_size;
  int bottleneck;
  // Channels whose hidden vectors a block holds at once.
  int piece;
  int taps_stride;
};

struct ContextPoolSupportTraits {
  static constexpr int kThreads = 256;
  static constexpr int kTokens = 64;
  // Channels that a thread loads at once.
  static constexpr int kVector = 8;
  // Taps that it loads before it waits: most networks have three in a row.
  static constexpr int kAtOnce = 3;
  // Threads that share a token in the second convolution, 4 channels each at a time.
  static constexpr int kTokenThreads = kThreads / kTokens;

  // How far apart hidden vectors lie in shared memory, in floats: neighbours half the banks apart,
  // so there are pitches of kLeastPiece and of kPitchStep more, again and again.
  static constexpr int kLeastPiece = 16;
  static constexpr int kPitchStep = 32;
  static SIMT_HOST_DEVICE int Pitch(int channels) {
    return (channels + kPitchStep - kLeastPiece - 1) / kPitchStep * kPitchStep + kLeastPiece;
  }
  // How many tokens before a token its first neighbour is, and behind it its last one.
  static SIMT_HOST_DEVICE int Reach(int kernel_size, int grid_width) {
    return kernel_size / 2 * (grid_width > 0 ? grid_width + 1 : 1);
  }
};

// body(tap, token, count) for those taps around a token that lie on the grid, neighbours `count` at
// a time: the first one's number, and its token. The others see zeros.
template <typename Body>
SIMT_DEVICE void ForTaps(const PooledTokens& tokens, bool is_grid, int kernel_size, int token,
                         const Body& body) {
  const int half = kernel_size / 2;
  const int above = is_grid ? half : 0;
  const int row = tokens.RowOf(token);
  const int column = tokens.ColumnOf(token);
  const int rows = tokens.Rows();
  const int left = half < column ? half : column;
  const int behind = tokens.width - 1 - column;
  const int right = half < behind ? half : behind;
  for (int down = -above; down <= above; ++down) {
    if (row + down < 0 || row + down >= rows) continue;
    body((down + above) * kernel_size + half - left, token + down * tokens.width - left,
         left + 1 + right);
  }
}

// Some channels of the hidden vectors.
struct HiddenPiece {
  int first;
  int count;
};

template <typename T>
SIMT_DEVICE void AddPairs(const Vec<uint32_t, 4>& pairs,
                          float (&sum)[ContextPoolSupportTraits::kVector]) {
  SIMT_UNROLL
  for (int pair = 0; pair < 4; ++pair) {
    const Vec<float, 2> values = Unpack<T>(pairs[pair]);
    sum[pair * 2] += values[0];
    sum[pair * 2 + 1] += values[1];
  }
}

// Hidden vectors of the pooled tokens [begin, end), to shared memory.
template <typename T, Activation kActivation>
SIMT_DEVICE void MakeHidden(const ContextPoolSupportArgs<T>& args, const PooledTokens& tokens,
                            HiddenPiece piece, int begin, int end, Shared<float> hidden) {
  using Traits = ContextPoolSupportTraits;
  const int vectors = piece.count / Traits::kVector;
  const int pitch = Traits::Pitch(args.piece);
  for (int i = ThreadIdx().x; i < (end - begin) * vectors; i += Traits::kThreads) {
    const int token = begin + i / vectors;
    const int channel = i % vectors * Traits::kVector;
    float sum[Traits::kVector] = {};
    ForTaps(tokens, args.grid_width > 0, args.kernel_size, token,
            [&](int tap, int other, int count) {
              const int64_t from = int64_t{tokens.first + other} * args.taps_stride +
                                   tap * args.bottleneck + piece.first + channel;
              // From tap to tap: of the next token.
              const int64_t step = int64_t{args.taps_stride} + args.bottleneck;
              for (int t = 0; t < count; t += Traits::kAtOnce) {
                // All on their way before the first one is waited for.
                Vec<uint32_t, 4> loaded[Traits::kAtOnce] = {};
                SIMT_UNROLL
                for (int j = 0; j < Traits::kAtOnce; ++j) {
                  if (t + j >= count) continue;
                  loaded[j] = args.taps.template LoadVec<4>((from + (t + j) * step) / 2);
                }
                SIMT_UNROLL
                for (int j = 0; j < Traits::kAtOnce; ++j) AddPairs<T>(loaded[j], sum);
              }
            });
    Vec<float, 4> halves[2];
    SIMT_UNROLL
    for (int k = 0; k < Traits::kVector; ++k) halves[k / 4][k % 4] = Activate<kActivation>(sum[k]);
    // Eight threads store at once, each 16 of its 32 bytes: four of them the second half first,
    // since four threads' bytes take all banks.
    const int to = (token - begin) * pitch + channel;
    const bool turned = i / 4 % 2 != 0;
    hidden.StoreVec(to + (turned ? 4 : 0), turned ? halves[1] : halves[0]);
    hidden.StoreVec(to + (turned ? 0 : 4), turned ? halves[0] : halves[1]);
  }
}

// Adds what the second convolution makes of a piece at `token` to the calling thread's part of the
// sums; kTokenThreads threads share a token.
template <typename T>
SIMT_DEVICE void ConvolveHidden(const ContextPoolSupportArgs<T>& args, const PooledTokens& tokens,
                                HiddenPiece piece, int token, int begin, Shared<const float> hidden,
                                float (&sums)[2]) {
  using Traits = ContextPoolSupportTraits;
  if (token >= tokens.count) return;
  const int first = ThreadIdx().x % Traits::kTokenThreads * 4;
  const int pitch = Traits::Pitch(args.piece);
  ForTaps(tokens, args.grid_width > 0, args.kernel_size, token, [&](int tap, int other, int count) {
    for (int t = 0; t < count; ++t) {
      for (int c = first; c < piece.count; c += Traits::kTokenThreads * 4) {
        const Vec<float, 4> h = hidden.LoadVec<4>((other + t - begin) * pitch + c);
        SIMT_UNROLL
        for (int output = 0; output < 2; ++output) {
          const Vec<float, 4> weight = args.conv2_weight.template LoadVec<4>(
              ((tap + t) * 2 + output) * args.bottleneck + piece.first + c);
          SIMT_UNROLL
          for (int k = 0; k < 4; ++k) sums[output] += h[k] * weight[k];
        }
      }
    }
  });
}

// The network's two numbers for `token`, for all its kTokenThreads threads. By the whole block.
template <typename T, Activation kActivation>
SIMT_DEVICE void RunNetwork(const ContextPoolSupportArgs<T>& args, const PooledTokens& tokens,
                            int first_token, int token, float (&numbers)[2]) {
  using Traits = ContextPoolSupportTraits;
  const int reach = Traits::Reach(args.kernel_size, args.grid_width);
  const int begin = first_token > reach ? first_token - reach : 0;
  const int behind = first_token + Traits::kTokens + reach;
  const int end = behind < tokens.count ? behind : tokens.count;
  SharedPool pool;
  const auto hidden = pool.Take<float>((end - begin) * Traits::Pitch(args.piece));
  for (int channel = 0; channel < args.bottleneck; channel += args.piece) {
    const int left = args.bottleneck - channel;
    const HiddenPiece piece = {channel, left < args.piece ? left : args.piece};
    // Until all have convolved the piece before this one.
    if (channel > 0) SyncThreads();
    MakeHidden<T, kActivation>(args, tokens, piece, begin, end, hidden);
    SyncThreads();
    ConvolveHidden(args, tokens, piece, token, begin, hidden, numbers);
  }
  SIMT_UNROLL
  for (int output = 0; output < 2; ++output) {
    numbers[output] =
        args.conv2_bias.Load(output) + WarpSum<Traits::kTokenThreads>(numbers[output]);
  }
}

template <typename T>
SIMT_DEVICE void StorePrefix(const ContextPoolSupportArgs<T>& args, const PooledTokens& tokens) {
  for (int64_t token = tokens.begin + ThreadIdx().x; token < tokens.first;
       token += ContextPoolSupportTraits::kThreads) {
    args.log_weight.Store(token, -INFINITY);
    args.support_size.Store(token, 0);
  }
}

// Block: number of a tile of tokens.
template <typename T, Activation kActivation>
SIMT_KERNEL(ContextPoolSupportTraits::kThreads, 2)
void ContextPoolSupportKernel(ContextPoolSupportArgs<T> args) {
  using Traits = ContextPoolSupportTraits;
  const SequenceTile sequence =
      FindTile(args.cu_lengths, args.sequences, Traits::kTokens, BlockIdx().x);
  const PooledTokens tokens =
      FindPooledTokens(sequence.begin, sequence.length, args.prefix, args.grid_width);
  if (sequence.first == 0) StorePrefix(args, tokens);
  if (sequence.first >= tokens.count) return;

  const int token = sequence.first + ThreadIdx().x / Traits::kTokenThreads;
  float numbers[2] = {};
  if (args.taps) RunNetwork<T, kActivation>(args, tokens, sequence.first, token, numbers);
  if (token >= tokens.count || ThreadIdx().x % Traits::kTokenThreads > 0) return;
  args.log_weight.Store(tokens.first + token, LogWeightOf(args.numbers.weight, numbers[0]));
  args.support_size.Store(tokens.first + token, SupportSizeOf(args.numbers, tokens, numbers[1]));
}

}  // namespace contextpool::kernels::SIMT_BACKEND
