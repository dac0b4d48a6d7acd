// Multi-head attention of packed sequences of any lengths, from one fused projection.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/launch.h"

namespace contextpool::kernels {

// out = softmax(Q K^T * scale) V for each sequence and head; no token sees another sequence.
struct AttentionParams {
  // [tokens, 3 * heads * head_size], dense: Q, K and V side by side, each head by head.
  const void* qkv = nullptr;
  // [sequences + 1]
  const int32_t* cu_lengths = nullptr;
  // [tokens, heads * head_size], dense.
  void* out = nullptr;
  // AttentionWorkspaceBytes, aligned to 64. `cpu` only.
  void* workspace = nullptr;
  DType dtype = DType::kF32;
  int64_t sequences = 0;
  // What qkv and out hold, cu_lengths[sequences] or more. Not read by `cpu`.
  int64_t tokens = 0;
  // Of the longest sequence.
  int64_t max_length = 0;
  int64_t heads = 0;
  int64_t head_size = 0;
  float scale = 1;

  bool operator==(const AttentionParams&) const = default;
};

namespace cpu {
size_t AttentionWorkspaceBytes(int64_t max_length, int64_t head_size, int threads);
Status Attention(const AttentionParams& params, StreamHandle stream);
}  // namespace cpu

// float16 and bfloat16, scores and sums in float. Launches one kernel whose size follows from the
// parameters alone: `tokens` and `max_length` may be more than the sequences have, and sequences
// may be empty. kBadShape unless head_size is 32, 64 or 128, heads are at most 65,535, tokens and
// sequences together and sequences times heads below 2^31, scale is positive, and qkv and out are
// aligned to 16 bytes.
namespace cuda {
Status Attention(const AttentionParams& params, StreamHandle stream);
}  // namespace cuda

// The kernels of `cuda` on the emulator: `stream` is a simt::Stream*.
namespace emulated {
Status Attention(const AttentionParams& params, StreamHandle stream);
}  // namespace emulated

}  // namespace contextpool::kernels
