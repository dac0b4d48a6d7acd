// Embedding + LayerNorm: one warp a token, which it keeps in registers.
//
// Memory traffic: the word's row and out once each; positions, token type, gamma, beta and
// cu_lengths stay in caches.
#pragma once

#include <cstdint>

#include "kernels/cuda/normalize_row.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/sequence_tiles.cuh"
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

// REQUIRES: columns <= kSteps * kStep, a multiple of kVector; addresses let vectors be loaded.
template <typename T, int kSteps>
SIMT_KERNEL(RowTraits::kThreads, 4)
void EmbeddingKernel(EmbeddingArgs<T> args) {
  const int64_t token = RowOfWarp();
  if (token >= args.tokens) return;
  const int64_t id = args.ids.Load(token);
  // `tokens` may be more than there are.
  if (token >= args.cu_lengths.Load(args.sequences)) return;
  const int sequence =
      FindLast(args.sequences, [&](int s) { return args.cu_lengths.Load(s) <= token; });
  const int64_t position = token - args.cu_lengths.Load(sequence);
  WarpRow<kSteps> row(args.columns);
  // Side by side, so that both are on their way at once.
  row.Add(args.words, id * args.columns);
  row.Add(args.positions, position * args.columns);
  if (args.token_type) row.Add(args.token_type, 0);
  StoreNormalized(row, args.norm, args.out, token * args.columns);
}

}  // namespace contextpool::kernels::SIMT_BACKEND
