// out[t] = LayerNorm(words[ids[t]] + positions[place of t in its sequence] + token_type).
#pragma once

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/launch.h"

namespace contextpool::kernels {

// REQUIRES: every id is a row of `words`, no sequence is longer than `positions`.
struct EmbeddingParams {
  // [tokens]
  const int32_t* ids = nullptr;
  // [sequences + 1]: where each sequence begins in `ids`.
  const int32_t* cu_lengths = nullptr;
  // [vocabulary, columns], dense.
  const void* words = nullptr;
  // [positions, columns], dense.
  const void* positions = nullptr;
  // [columns]; null: none.
  const void* token_type = nullptr;
  // [columns]
  const void* gamma = nullptr;
  const void* beta = nullptr;
  // [tokens, columns], dense.
  void* out = nullptr;
  DType dtype = DType::kF32;
  int64_t sequences = 0;
  int64_t tokens = 0;
  int64_t columns = 0;
  float eps = 1e-12f;

  bool operator==(const EmbeddingParams&) const = default;
};

namespace cpu {
Status Embedding(const EmbeddingParams& params, StreamHandle stream);
}  // namespace cpu

// float16 and bfloat16, computed in float. `tokens` may be more than cu_lengths[sequences]: the
// rows of out beyond are not written. kBadShape unless columns are a multiple of 8, at most 2048,
// and all tables and out at multiples of 16 bytes.
namespace cuda {
Status Embedding(const EmbeddingParams& params, StreamHandle stream);
}  // namespace cuda

// The kernels of `cuda` on the emulator: `stream` is a simt::Stream*.
namespace emulated {
Status Embedding(const EmbeddingParams& params, StreamHandle stream);
}  // namespace emulated

}  // namespace contextpool::kernels
