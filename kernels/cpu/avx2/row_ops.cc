// What works row by row: activation, normalisation, embedding and pooling.

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/avx2/math.h"
#include "kernels/cpu/avx2/rows.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/row_tasks.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

template <Activation kActivation>
void ActivateRow(const float* bias, const float* residual, int64_t columns, float* row) {
  ForColumns(columns, [&](int64_t c, auto lanes) {
    __m256 v = lanes.Load(row + c);
    if (bias != nullptr) v = _mm256_add_ps(v, lanes.Load(bias + c));
    if (residual != nullptr) v = _mm256_add_ps(v, lanes.Load(residual + c));
    lanes.Store(row + c, Activate<kActivation>(v));
  });
}

void ActivateRow(Activation activation, const float* bias, const float* residual, int64_t columns,
                 float* row) {
  switch (activation) {
    case Activation::kNone:
      return ActivateRow<Activation::kNone>(bias, residual, columns, row);
    case Activation::kGelu:
      return ActivateRow<Activation::kGelu>(bias, residual, columns, row);
    case Activation::kGeluTanh:
      return ActivateRow<Activation::kGeluTanh>(bias, residual, columns, row);
    case Activation::kRelu:
      return ActivateRow<Activation::kRelu>(bias, residual, columns, row);
    case Activation::kTanh:
      return ActivateRow<Activation::kTanh>(bias, residual, columns, row);
    case Activation::kLeakyRelu:
      return ActivateRow<Activation::kLeakyRelu>(bias, residual, columns, row);
  }
}

void NormalizeTo1(int64_t columns, float* row) {
  __m256 squares = _mm256_setzero_ps();
  ForColumns(columns, [&](int64_t c, auto lanes) {
    const __m256 v = lanes.Load(row + c);
    squares = _mm256_fmadd_ps(v, v, squares);
  });
  const __m256 scale = _mm256_set1_ps(1.0f / std::max(std::sqrt(Sum(squares)), 1e-12f));
  ForColumns(columns, [&](int64_t c, auto lanes) {
    lanes.Store(row + c, _mm256_mul_ps(lanes.Load(row + c), scale));
  });
}

// Columns [c, c + 8) of one segment.
template <typename Lanes>
__m256 PoolColumns(const float* x, const PoolSegment& segment, int64_t columns, int64_t c,
                   Lanes lanes) {
  const auto row = [&](int64_t i) { return lanes.Load(x + i * columns + c); };
  switch (segment.mode) {
    case PoolMode::kFirst:
      return row(segment.begin);
    case PoolMode::kLast:
      return row(segment.end - 1);
    case PoolMode::kMax: {
      __m256 peak = row(segment.begin);
      for (int64_t i = segment.begin + 1; i < segment.end; ++i) {
        // A NaN on either side wins, as in PyTorch.
        const __m256 v = row(i);
        const __m256 bad = _mm256_cmp_ps(peak, peak, _CMP_UNORD_Q);
        peak = _mm256_blendv_ps(_mm256_max_ps(peak, v), peak, bad);
      }
      return peak;
    }
    case PoolMode::kMean:
      break;
  }
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = segment.begin; i < segment.end; ++i) sum = _mm256_add_ps(sum, row(i));
  return _mm256_div_ps(sum, _mm256_set1_ps(static_cast<float>(segment.end - segment.begin)));
}

}  // namespace

void BiasActivation(const BiasActivationParams& p, CpuStream& stream) {
  ForRows(p.rows, stream, [&](int64_t row) {
    const float* residual = static_cast<const float*>(p.residual);
    if (residual != nullptr) residual += row * p.residual_stride;
    ActivateRow(p.activation, static_cast<const float*>(p.bias), residual, p.columns,
                static_cast<float*>(p.x) + row * p.stride);
  });
}

void LayerNorm(const LayerNormParams& p, CpuStream& stream) {
  const float* bias = static_cast<const float*>(p.bias);
  ForRows(p.rows, stream, [&](int64_t row) {
    const float* x = static_cast<const float*>(p.x) + row * p.x_stride;
    const float* residual = static_cast<const float*>(p.residual);
    if (residual != nullptr) residual += row * p.residual_stride;
    float* out = static_cast<float*>(p.out) + row * p.out_stride;
    ForColumns(p.columns, [&](int64_t c, auto lanes) {
      __m256 v = lanes.Load(x + c);
      if (bias != nullptr) v = _mm256_add_ps(v, lanes.Load(bias + c));
      if (residual != nullptr) v = _mm256_add_ps(v, lanes.Load(residual + c));
      lanes.Store(out + c, v);
    });
    NormalizeRow(out, static_cast<const float*>(p.gamma), static_cast<const float*>(p.beta),
                 p.columns, p.eps, out);
  });
}

void Embedding(const EmbeddingParams& p, CpuStream& stream) {
  const float* type = static_cast<const float*>(p.token_type);
  ForTokens(p, stream, [&](int64_t token, int64_t position) {
    const float* word = static_cast<const float*>(p.words) + p.ids[token] * p.columns;
    const float* place = static_cast<const float*>(p.positions) + position * p.columns;
    float* out = static_cast<float*>(p.out) + token * p.columns;
    ForColumns(p.columns, [&](int64_t c, auto lanes) {
      __m256 v = lanes.Load(word + c);
      if (type != nullptr) v = _mm256_add_ps(v, lanes.Load(type + c));
      v = _mm256_add_ps(v, lanes.Load(place + c));
      lanes.Store(out + c, v);
    });
    NormalizeRow(out, static_cast<const float*>(p.gamma), static_cast<const float*>(p.beta),
                 p.columns, p.eps, out);
  });
}

void PatchTokens(const PatchTokensParams& p, CpuStream& stream) {
  ForRows(p.images * p.tokens, stream, [&](int64_t row) {
    const int64_t token = row % p.tokens;
    const int64_t patch = row / p.tokens * (p.tokens - p.prefix) + token - p.prefix;
    const float* table = static_cast<const float*>(p.table) + token * p.columns;
    const float* patches = static_cast<const float*>(p.patches) + patch * p.columns;
    float* out = static_cast<float*>(p.out) + row * p.columns;
    ForColumns(p.columns, [&](int64_t c, auto lanes) {
      __m256 v = lanes.Load(table + c);
      if (token >= p.prefix) v = _mm256_add_ps(v, lanes.Load(patches + c));
      lanes.Store(out + c, v);
    });
  });
}

void Pool(const PoolParams& p, CpuStream& stream) {
  stream.ParallelFor(p.segment_count, [&](int64_t index, int) {
    const PoolSegment& segment = p.segments[index];
    float* out = static_cast<float*>(p.out) + index * p.columns;
    ForColumns(p.columns, [&](int64_t c, auto lanes) {
      lanes.Store(out + c,
                  PoolColumns(static_cast<const float*>(p.x), segment, p.columns, c, lanes));
    });
    if (segment.normalize != 0) NormalizeTo1(p.columns, out);
  });
}

}  // namespace contextpool::kernels::cpu::avx2
