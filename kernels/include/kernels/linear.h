// A linear layer over weights packed once: out = LayerNorm(activation(x W^T + bias) + residual), or
// activation(x W^T + bias + residual).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/dtype.h"
#include "kernels/launch.h"

namespace contextpool::kernels {

// Columns of out that are computed together; the last panel is filled up with zeros.
inline constexpr int64_t kPanelColumns = 16;

// A row of out depends on its own row of x alone, bit for bit: neither on the number of rows nor on
// what the others hold.
struct LinearParams {
  // [rows, in], rows `x_stride` elements apart.
  const void* x = nullptr;
  // As PackLinear wrote them.
  const void* packed_weight = nullptr;
  // [out]; null: none.
  const void* bias = nullptr;
  // [rows, out], rows `residual_stride` elements apart; null: none.
  const void* residual = nullptr;
  // [out]; both null: no normalisation.
  const void* gamma = nullptr;
  const void* beta = nullptr;
  // [rows, out], rows `out_stride` elements apart. Overlaps neither x nor residual.
  void* out = nullptr;
  DType dtype = DType::kF32;
  Activation activation = Activation::kNone;
  // Whether the activation is of the sum with the residual.
  bool activates_sum = false;
  int64_t rows = 0;
  int64_t in_columns = 0;
  int64_t out_columns = 0;
  int64_t x_stride = 0;
  int64_t residual_stride = 0;
  int64_t out_stride = 0;
  float eps = 1e-12f;
};

namespace cpu {

// Elements of the packed form: out_columns rounded up to whole panels, times in_columns.
size_t PackedLinearElements(int64_t out_columns, int64_t in_columns);

// `weight` is [out_columns, in_columns] as checkpoints hold it; `packed` becomes
// [out_columns / 16, in_columns, 16] and is best aligned to 64 bytes.
void PackLinear(const float* weight, int64_t out_columns, int64_t in_columns, float* packed);

Status Linear(const LinearParams& params, StreamHandle stream);

}  // namespace cpu

}  // namespace contextpool::kernels
