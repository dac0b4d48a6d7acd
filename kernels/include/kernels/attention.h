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
  // AttentionWorkspaceBytes, aligned to 64.
  void* workspace = nullptr;
  DType dtype = DType::kF32;
  int64_t sequences = 0;
  // Of the longest sequence.
  int64_t max_length = 0;
  int64_t heads = 0;
  int64_t head_size = 0;
  float scale = 1;
};

namespace cpu {
size_t AttentionWorkspaceBytes(int64_t max_length, int64_t head_size, int threads);
Status Attention(const AttentionParams& params, StreamHandle stream);
}  // namespace cpu

}  // namespace contextpool::kernels
