#include <limits>

#include "kernels/cuda/check.h"
#include "kernels/cuda/embedding.cuh"
#include "kernels/cuda/row_launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/with_half.cuh"
#include "kernels/embedding.h"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

bool IsSupported(const EmbeddingParams& p) {
  return p.sequences >= 0 && p.sequences < std::numeric_limits<int32_t>::max() && p.tokens >= 0 &&
         FitsWarpRow(p.columns) && AreMultiplesOf(RowTraits::kVector, {p.columns}) &&
         AreVectorAligned({p.words, p.positions, p.token_type, p.gamma, p.beta, p.out});
}

template <typename T>
EmbeddingArgs<T> ArgsOf(const EmbeddingParams& p) {
  return {.ids = {p.ids, p.tokens},
          .cu_lengths = {p.cu_lengths, p.sequences + 1},
          .words = Table<const T>(p.words),
          .positions = Table<const T>(p.positions),
          .token_type = Rows<const T>(p.token_type, 1, p.columns, 0),
          .norm = {.gamma = Rows<const T>(p.gamma, 1, p.columns, 0),
                   .beta = Rows<const T>(p.beta, 1, p.columns, 0),
                   .eps = p.eps},
          .out = Rows<T>(p.out, p.tokens, p.columns, p.columns),
          .sequences = static_cast<int>(p.sequences),
          .tokens = p.tokens,
          .columns = static_cast<int>(p.columns)};
}

}  // namespace

Status Embedding(const EmbeddingParams& params, StreamHandle stream) {
  if (!IsSupported(params)) return Status::kBadShape;
  if (params.tokens == 0 || params.sequences == 0) return Status::kOk;
  return WithHalf(params.dtype, [&]<typename T>(std::type_identity<T>) {
    return WithSteps(params.columns, [&](auto steps) {
      return Launch(RowLaunch("embedding", params.tokens, params.columns, params.columns), stream,
                    EmbeddingKernel<T, steps>, ArgsOf<T>(params));
    });
  });
}

}  // namespace contextpool::kernels::SIMT_BACKEND
