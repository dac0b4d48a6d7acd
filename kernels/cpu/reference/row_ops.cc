// The plain forms of what works row by row: the oracle of the vectorised ones.

#include <algorithm>
#include <cmath>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/reference/rows.h"
#include "kernels/cpu/row_tasks.h"

namespace contextpool::kernels::cpu::reference {

float Activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kGelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + std::tanh(0.79788456f * x * (1.0f + 0.044715f * x * x)));
    case Activation::kRelu:
      return x < 0.0f ? 0.0f : x;
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kLeakyRelu:
      return x < 0.0f ? 0.01f * x : x;
  }
  return x;
}

void NormalizeRow(const float* gamma, const float* beta, int64_t columns, float eps, float* row) {
  float sum = 0;
  for (int64_t c = 0; c < columns; ++c) sum += row[c];
  const float mean = sum / static_cast<float>(columns);
  float squares = 0;
  for (int64_t c = 0; c < columns; ++c) squares += (row[c] - mean) * (row[c] - mean);
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(columns) + eps);
  for (int64_t c = 0; c < columns; ++c) row[c] = (row[c] - mean) * scale * gamma[c] + beta[c];
}

void BiasActivation(const BiasActivationParams& p, CpuStream& stream) {
  const float* bias = static_cast<const float*>(p.bias);
  ForRows(p.rows, stream, [&](int64_t row) {
    float* x = static_cast<float*>(p.x) + row * p.stride;
    const float* residual = static_cast<const float*>(p.residual);
    if (residual != nullptr) residual += row * p.residual_stride;
    for (int64_t c = 0; c < p.columns; ++c) {
      float value = x[c];
      if (bias != nullptr) value += bias[c];
      if (residual != nullptr) value += residual[c];
      x[c] = Activate(p.activation, value);
    }
  });
}

void LayerNorm(const LayerNormParams& p, CpuStream& stream) {
  const float* bias = static_cast<const float*>(p.bias);
  ForRows(p.rows, stream, [&](int64_t row) {
    const float* x = static_cast<const float*>(p.x) + row * p.x_stride;
    const float* residual = static_cast<const float*>(p.residual);
    if (residual != nullptr) residual += row * p.residual_stride;
    float* out = static_cast<float*>(p.out) + row * p.out_stride;
    for (int64_t c = 0; c < p.columns; ++c) {
      float value = x[c];
      if (bias != nullptr) value += bias[c];
      if (residual != nullptr) value += residual[c];
      out[c] = value;
    }
    NormalizeRow(static_cast<const float*>(p.gamma), static_cast<const float*>(p.beta), p.columns,
                 p.eps, out);
  });
}

void Embedding(const EmbeddingParams& p, CpuStream& stream) {
  const float* type = static_cast<const float*>(p.token_type);
  ForTokens(p, stream, [&](int64_t token, int64_t position) {
    const float* word = static_cast<const float*>(p.words) + p.ids[token] * p.columns;
    const float* place = static_cast<const float*>(p.positions) + position * p.columns;
    float* out = static_cast<float*>(p.out) + token * p.columns;
    for (int64_t c = 0; c < p.columns; ++c) {
      out[c] = (type != nullptr ? word[c] + type[c] : word[c]) + place[c];
    }
    NormalizeRow(static_cast<const float*>(p.gamma), static_cast<const float*>(p.beta), p.columns,
                 p.eps, out);
  });
}

void PatchTokens(const PatchTokensParams& p, CpuStream& stream) {
  ForRows(p.images * p.tokens, stream, [&](int64_t row) {
    const int64_t token = row % p.tokens;
    const int64_t patch = row / p.tokens * (p.tokens - p.prefix) + token - p.prefix;
    const float* table = static_cast<const float*>(p.table) + token * p.columns;
    const float* patches = static_cast<const float*>(p.patches) + patch * p.columns;
    float* out = static_cast<float*>(p.out) + row * p.columns;
    for (int64_t c = 0; c < p.columns; ++c) {
      out[c] = token < p.prefix ? table[c] : table[c] + patches[c];
    }
  });
}

namespace {

// Column c of one segment.
float PoolColumn(const PoolParams& p, const PoolSegment& segment, int64_t c) {
  const auto at = [&](int64_t i) { return static_cast<const float*>(p.x)[i * p.columns + c]; };
  if (segment.mode == PoolMode::kFirst) return at(segment.begin);
  if (segment.mode == PoolMode::kLast) return at(segment.end - 1);
  float value = at(segment.begin);
  for (int64_t i = segment.begin + 1; i < segment.end; ++i) {
    if (segment.mode == PoolMode::kMean) {
      value += at(i);
    } else if (!std::isnan(value) && !(at(i) <= value)) {
      // A NaN on either side wins, as in PyTorch.
      value = at(i);
    }
  }
  if (segment.mode == PoolMode::kMax) return value;
  return value / static_cast<float>(segment.end - segment.begin);
}

}  // namespace

void Pool(const PoolParams& p, CpuStream& stream) {
  stream.ParallelFor(p.segment_count, [&](int64_t index, int) {
    const PoolSegment& segment = p.segments[index];
    float* out = static_cast<float*>(p.out) + index * p.columns;
    float squares = 0;
    for (int64_t c = 0; c < p.columns; ++c) {
      out[c] = PoolColumn(p, segment, c);
      squares += out[c] * out[c];
    }
    if (segment.normalize == 0) return;
    const float length = std::max(std::sqrt(squares), 1e-12f);
    for (int64_t c = 0; c < p.columns; ++c) out[c] /= length;
  });
}

}  // namespace contextpool::kernels::cpu::reference
