// Embedding + LayerNorm: one warp a token, which it keeps in registers.
//
// Memory traffic: the word's row and out once each; positions, token type, gamma, beta and
// cu_lengths stay in caches.
#pragma once

#include <cstdint>

#include "kernels/cuda/normalize_row.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/warp_row.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct EmbeddingArgs {
  Global<const int32_t> ids;
  Global<const int32_t> cu_lengths;
  Global<const T> words;
  Global<const T> positions;
  // Null: none.
  Global<const T> token_type;
  NormArgs<T> norm;
  Global<T> out;
  int sequences;
  int64_t tokens;
  int columns;
};

// The number of the sequence that `token` is in. REQUIRES: cu_lengths[0] <= token <
// cu_lengths[sequences].
SIMT_DEVICE int SequenceOf(Global<const int32_t> cu_lengths, int sequences, int64_t token) {
  int found = 0;
  int end = sequences;
  while (end - found > 1) {
    const int middle = (found + end) / 2;
    if (cu_lengths.Load(middle) <= token) {
      found = middle;
    } else {
      end = middle;
    }
  }
  return found;
}

// REQUIRES: columns <= kSteps * kStep, a multiple of kVector; addresses let vectors be loaded.
template <typename T, int kSteps>
SIMT_KERNEL(RowTraits::kThreads, 4)
void EmbeddingKernel(EmbeddingArgs<T> args) {
  const int64_t token = RowOfWarp();
  if (token >= args.tokens) return;
  const int64_t id = args.ids.Load(token);
  // `tokens` may be more than there are.
  if (token >= args.cu_lengths.Load(args.sequences)) return;
  WarpRow<kSteps> row(args.columns);
  row.Add(args.words, id * args.columns);
  if (args.token_type) row.Add(args.token_type, 0);
  // The word's row is on its way meanwhile.
  const int sequence = SequenceOf(args.cu_lengths, args.sequences, token);
  row.Add(args.positions, (token - args.cu_lengths.Load(sequence)) * args.columns);
  StoreNormalized(row, args.norm, args.out, token * args.columns);
}

}  // namespace contextpool::kernels::SIMT_BACKEND
