// ContextPool: every token pools its neighbours, weighted by w_j exp(-|i - j|^2 / (2 sigma_i^2)).
//
// Huang et al., "Efficient Representation Learning via Adaptive Context Pooling", ICML 2022, in
// this project's reading of it: docs/contextpool.md. Two operations: ContextPoolSupport turns the
// output of the parameter network's first convolution into each token's pooling weight w and
// support size sigma, ContextPool does the pooling. Weights, sizes and sums are float32 in every
// dtype.
//
// A sequence's pooled tokens lie in a row or, where `grid_width` is not 0, on a grid of so many
// columns, row by row: |i - j| is the distance there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/dtype.h"
#include "kernels/launch.h"
#include "kernels/window.h"

namespace contextpool::kernels {

// From the parameter network's first number a to the pooling weight w. kSoftmax runs over the
// pooled tokens of the sequence; kOne ignores a.
enum class PoolWeight : uint8_t { kSigmoid, kExp, kSoftmax, kOne };

// From the second number b to the support size sigma: r N s with s = sigmoid(b) or softmax(b) over
// the pooled tokens of the sequence; kFixed: the same sigma for all.
enum class SupportSize : uint8_t { kSigmoid, kSoftmax, kFixed };

// Whether the parameter network has anything to say.
constexpr bool Learned(PoolWeight weight, SupportSize size) {
  return weight != PoolWeight::kOne || size != SupportSize::kFixed;
}

// What a weighted sum is divided by: the sum of its weights, the number of pooled tokens, nothing.
enum class PoolNormalization : uint8_t { kSum, kMean, kNone };

// What becomes of the input x beside the pooled y: y, x + y, x + gate (y - x).
enum class PoolResidual : uint8_t { kNone, kAdd, kGate };

// Taps of the parameter network's convolutions: kernel_size, or its square on a grid.
constexpr int64_t PoolTaps(int64_t kernel_size, int64_t grid_width) {
  return grid_width > 0 ? kernel_size * kernel_size : kernel_size;
}

// log2 of a pooling weight is kept inside these bounds, so that no sum of weights is ever zero.
inline constexpr float kMinLogWeight = -100;
inline constexpr float kMaxLogWeight = 20;
// Added to 2 sigma^2.
inline constexpr float kSupportEps = 1e-4f;

// The first `prefix` tokens of each sequence are not pooled, nor does the network see them: they
// get log_weight -infinity and support_size 0. Below, n is the number of a sequence's other tokens.
struct ContextPoolSupportParams {
  // [tokens, PoolTaps, bottleneck], rows `taps_stride` elements apart: x W1_t^T of each tap t of
  // the first convolution, its bias added to the middle tap; on a grid the taps of a kernel's row
  // lie side by side. Overwritten. Null where nothing is Learned: then no other input but
  // cu_lengths is read.
  void* taps = nullptr;
  // float32 [PoolTaps, 2, bottleneck] and [2]: the second convolution, row 0 for a, row 1 for b.
  const float* conv2_weight = nullptr;
  const float* conv2_bias = nullptr;
  // [sequences + 1]
  const int32_t* cu_lengths = nullptr;
  // [tokens] each: log2 w, and sigma in tokens or cells of the grid.
  float* log_weight = nullptr;
  float* support_size = nullptr;
  DType dtype = DType::kF32;  // of taps
  // kNone, kGelu, kRelu or kLeakyRelu: of the first convolution's sum.
  Activation activation = Activation::kGelu;
  PoolWeight weight = PoolWeight::kSigmoid;
  SupportSize size = SupportSize::kSigmoid;
  // kFixed: sigma.
  float fixed_size = 0;
  // sigma = r N s.
  float r = 0.1f;
  // N; 0: n of each sequence, or the larger side of its grid where n_is_side.
  float fixed_n = 0;
  bool n_is_side = false;
  int64_t sequences = 0;
  // What taps hold, cu_lengths[sequences] or more. Not read by `cpu`.
  int64_t tokens = 0;
  int64_t prefix = 0;
  // Columns of the grid; 0: there is none. REQUIRES: each n is a multiple of it.
  int64_t grid_width = 0;
  // Odd.
  int64_t kernel_size = 0;
  int64_t bottleneck = 0;
  int64_t taps_stride = 0;

  bool operator==(const ContextPoolSupportParams&) const = default;
};

// Outputs that are fewer than the tokens, as the pooling layer of a ConvNet makes them: output (r,
// c) of rows x columns is centred on the token (stride r + first_row, stride c + first_column), or
// on the nearest one where the grid ends before.
struct PoolOutputs {
  // 0: none of this. Every token is an output, centred on itself.
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 1;
  int64_t first_row = 0;
  int64_t first_column = 0;

  constexpr int64_t count() const { return rows * columns; }

  bool operator==(const PoolOutputs&) const = default;
};

// In place of a layer that pools such windows of a grid of rows x columns, as many outputs as it
// has: each is centred on the middle of its window, rounded towards the first token. REQUIRES:
// Fits.
constexpr PoolOutputs InPlaceOf(const Window& window, int64_t rows, int64_t columns) {
  const int64_t first = (window.size - 1) / 2 - window.padding;
  return {.rows = Outputs(window, rows),
          .columns = Outputs(window, columns),
          .stride = window.stride,
          .first_row = first,
          .first_column = first};
}

// In place of a mean over the whole grid: one output, centred in its middle.
constexpr PoolOutputs InPlaceOfMean(int64_t rows, int64_t columns) {
  return {.rows = 1, .columns = 1, .first_row = (rows - 1) / 2, .first_column = (columns - 1) / 2};
}

// Blocks of weights that ContextPool computed and that it found too small to matter.
struct ContextPoolTiles {
  int64_t computed = 0;
  int64_t skipped = 0;
};

// out_i = residual(x_i, sum_j p_ij x_j / normalization), p_ij = 2^(log_weight_j - c_i |i - j|^2),
// c_i = log2(e) / (2 support_size_i^2 + kSupportEps); j over the pooled tokens of i's sequence.
// Prefix tokens are copied. A row depends on its own sequence alone, bit for bit. Where there are
// PoolOutputs, i is the token that an output is centred on.
//
// Blocks of weights are skipped where each is at most 2^-skip_bits of its row's sum, whatever the
// weights are: that drops at most n 2^-skip_bits of the sum. Infinity skips only zeros. Not every
// such block is: those between two that matter may be computed, and are counted as computed. On the
// CPU no block of tokens lies in two rows of a grid.
struct ContextPoolParams {
  // [tokens, columns], rows `x_stride` elements apart.
  const void* x = nullptr;
  // As ContextPoolSupport wrote them.
  const float* log_weight = nullptr;
  const float* support_size = nullptr;
  // [sequences + 1]
  const int32_t* cu_lengths = nullptr;
  // [tokens or sequences * outputs.count(), columns], rows `out_stride` elements apart. Does not
  // overlap x.
  void* out = nullptr;
  // ContextPoolWorkspaceBytes, aligned to 64. `cpu` only.
  void* workspace = nullptr;
  // Added to; null: not counted.
  ContextPoolTiles* tiles = nullptr;
  DType dtype = DType::kF32;
  PoolNormalization normalization = PoolNormalization::kSum;
  PoolResidual residual = PoolResidual::kNone;
  // kGate: the factor.
  float gate = 0;
  float skip_bits = 24;
  int64_t sequences = 0;
  // What x and out hold, cu_lengths[sequences] or more. Not read by `cpu`.
  int64_t tokens = 0;
  // Of the longest sequence.
  int64_t max_length = 0;
  int64_t prefix = 0;
  // As in ContextPoolSupportParams.
  int64_t grid_width = 0;
  // On grids without prefix only. REQUIRES: no sequence is empty.
  PoolOutputs outputs = {};
  int64_t columns = 0;
  int64_t x_stride = 0;
  int64_t out_stride = 0;

  bool operator==(const ContextPoolParams&) const = default;
};

namespace cpu {
Status ContextPoolSupport(const ContextPoolSupportParams& params, StreamHandle stream);
size_t ContextPoolWorkspaceBytes(int64_t max_length, int threads);
Status ContextPool(const ContextPoolParams& params, StreamHandle stream);
}  // namespace cpu

// float16 and bfloat16 taps and x; weights, sizes and sums in float. Pooling weights are rounded to
// x's type, in float16 relative to the largest of their row; the sum that they are divided by is
// that of the rounded ones. The size of the launches follows from the parameters alone: `tokens`
// and `max_length` may be more than the sequences have, and sequences may be empty.
//
// kBadShape in ContextPoolSupport unless bottleneck and taps_stride are multiples of 8, taps and
// conv2_weight aligned to 16 bytes, kernel_size at most 31, bottleneck and grid_width at most 2^16,
// and the neighbours of 64 tokens fit a block: h <= 544, h = kernel_size / 2, times grid_width + 1
// on a grid. kBadShape in ContextPool unless columns and strides are multiples of 8, columns at
// most 2^20, strides below 2^31, x and out aligned to 16 bytes, max_length at most 2^16; and with
// PoolOutputs. Blocks of the device must have 72 KiB of shared memory.
namespace cuda {
Status ContextPoolSupport(const ContextPoolSupportParams& params, StreamHandle stream);
Status ContextPool(const ContextPoolParams& params, StreamHandle stream);
}  // namespace cuda

// The kernels of `cuda` on the emulator: `stream` is a simt::Stream*.
namespace emulated {
Status ContextPoolSupport(const ContextPoolSupportParams& params, StreamHandle stream);
Status ContextPool(const ContextPoolParams& params, StreamHandle stream);
}  // namespace emulated

}  // namespace contextpool::kernels
