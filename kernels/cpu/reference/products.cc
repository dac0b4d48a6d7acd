// The plain forms of Linear and Attention: the oracle of the vectorised ones.

#include <algorithm>
#include <cmath>

#include "kernels/cpu/attention_scratch.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/reference/rows.h"
#include "kernels/cpu/row_tasks.h"

namespace contextpool::kernels::cpu::reference {

void Linear(const LinearParams& p, CpuStream& stream) {
  ForRows(p.rows, stream, [&](int64_t row) {
    const float* x = static_cast<const float*>(p.x) + row * p.x_stride;
    const float* bias = static_cast<const float*>(p.bias);
    float* out = static_cast<float*>(p.out) + row * p.out_stride;
    for (int64_t column = 0; column < p.out_columns; ++column) {
      const float* weight = static_cast<const float*>(p.packed_weight) +
                            column / kPanelColumns * kPanelColumns * p.in_columns +
                            column % kPanelColumns;
      float sum = bias != nullptr ? bias[column] : 0.0f;
      for (int64_t k = 0; k < p.in_columns; ++k) sum += x[k] * weight[k * kPanelColumns];
      out[column] = p.activates_sum ? sum : Activate(p.activation, sum);
    }
    if (p.residual != nullptr) {
      const float* residual = static_cast<const float*>(p.residual) + row * p.residual_stride;
      for (int64_t column = 0; column < p.out_columns; ++column) out[column] += residual[column];
    }
    if (p.activates_sum) {
      for (int64_t column = 0; column < p.out_columns; ++column) {
        out[column] = Activate(p.activation, out[column]);
      }
    }
    if (p.gamma == nullptr) return;
    NormalizeRow(static_cast<const float*>(p.gamma), static_cast<const float*>(p.beta),
                 p.out_columns, p.eps, out);
  });
}

namespace {

// Rows of one head: query `q` over `length` keys and values, each `stride` floats apart.
void AttendRow(const AttentionParams& p, const float* q, const float* keys, int64_t length,
               float* scores, float* out) {
  const int64_t width = p.heads * p.head_size;
  const int64_t stride = 3 * width;
  float peak = -INFINITY;
  for (int64_t j = 0; j < length; ++j) {
    float dot = 0;
    for (int64_t d = 0; d < p.head_size; ++d) dot += q[d] * keys[j * stride + d];
    scores[j] = dot;
    peak = std::max(peak, dot);
  }
  float sum = 0;
  for (int64_t j = 0; j < length; ++j) {
    scores[j] = std::exp((scores[j] - peak) * p.scale);
    sum += scores[j];
  }
  const float* values = keys + width;
  for (int64_t d = 0; d < p.head_size; ++d) {
    float weighted = 0;
    for (int64_t j = 0; j < length; ++j) weighted += scores[j] * values[j * stride + d];
    out[d] = weighted / sum;
  }
}

}  // namespace

void Attention(const AttentionParams& p, CpuStream& stream) {
  const int64_t width = p.heads * p.head_size;
  stream.ParallelFor(p.sequences * p.heads, [&](int64_t task, int thread) {
    const int64_t begin = p.cu_lengths[task / p.heads];
    const int64_t length = p.cu_lengths[task / p.heads + 1] - begin;
    const int64_t column = task % p.heads * p.head_size;
    const float* q = static_cast<const float*>(p.qkv) + begin * 3 * width + column;
    float* out = static_cast<float*>(p.out) + begin * width + column;
    const AttentionScratch scratch(p.workspace, p.max_length, p.head_size, thread);
    for (int64_t i = 0; i < length; ++i) {
      AttendRow(p, q + i * 3 * width, q + width, length, scratch.scores, out + i * width);
    }
  });
}

}  // namespace contextpool::kernels::cpu::reference
