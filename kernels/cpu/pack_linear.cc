#include <algorithm>

#include "kernels/linear.h"

namespace contextpool::kernels::cpu {

size_t PackedLinearElements(int64_t out_columns, int64_t in_columns) {
  const int64_t panels = (out_columns + kPanelColumns - 1) / kPanelColumns;
  return static_cast<size_t>(panels * kPanelColumns * in_columns);
}

void PackLinear(const float* weight, int64_t out_columns, int64_t in_columns, float* packed) {
  for (int64_t column = 0; column < out_columns; column += kPanelColumns) {
    const int64_t filled = std::min(kPanelColumns, out_columns - column);
    float* panel = packed + column * in_columns;
    for (int64_t k = 0; k < in_columns; ++k) {
      for (int64_t c = 0; c < kPanelColumns; ++c) {
        panel[k * kPanelColumns + c] = c < filled ? weight[(column + c) * in_columns + k] : 0.0f;
      }
    }
  }
}

}  // namespace contextpool::kernels::cpu
