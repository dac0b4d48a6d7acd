// One value, one row: the plain forms.
#pragma once

#include <cstdint>

#include "kernels/activation.h"

namespace contextpool::kernels::cpu::reference {

float Activate(Activation activation, float x);

// row = LayerNorm(row).
void NormalizeRow(const float* gamma, const float* beta, int64_t columns, float eps, float* row);

}  // namespace contextpool::kernels::cpu::reference
