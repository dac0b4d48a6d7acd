// The tokens that enter an image transformer: prefix tokens, then the patches, each with its
// position.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/launch.h"

namespace contextpool::kernels {

// Of each image out[t] = table[t] for t < prefix, else table[t] + patches[t - prefix].
struct PatchTokensParams {
  // [images * (tokens - prefix), columns], dense.
  const void* patches = nullptr;
  // [tokens, columns], dense: the prefix tokens and the positions of all, added up.
  const void* table = nullptr;
  // [images * tokens, columns], dense. Overlaps neither.
  void* out = nullptr;
  DType dtype = DType::kF32;
  int64_t images = 0;
  // Of one image.
  int64_t tokens = 0;
  int64_t prefix = 0;
  int64_t columns = 0;

  bool operator==(const PatchTokensParams&) const = default;
};

namespace cpu {
Status PatchTokens(const PatchTokensParams& params, StreamHandle stream);
}  // namespace cpu

// float16 and bfloat16. kBadShape unless columns are a multiple of 8 and all addresses multiples of
// 16 bytes.
namespace cuda {
Status PatchTokens(const PatchTokensParams& params, StreamHandle stream);
}  // namespace cuda

// The kernels of `cuda` on the emulator: `stream` is a simt::Stream*.
namespace emulated {
Status PatchTokens(const PatchTokensParams& params, StreamHandle stream);
}  // namespace emulated

}  // namespace contextpool::kernels
