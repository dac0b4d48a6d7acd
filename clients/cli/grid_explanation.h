// What ContextPool chose over the grid of an image's tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "contextpool/v1/types.pb.h"

namespace contextpool::cli {

// One layer over the grid, tokens before it left out. [rows, columns], row by row; numbers that are
// not finite, or below 0, are 0.
struct GridLayer {
  uint32_t layer = 0;
  std::vector<float> weights;
  // In cells.
  std::vector<float> support_sizes;
};

// INTERNAL: the reply has no grid, no layer, or a layer without a number for each cell.
absl::StatusOr<std::vector<GridLayer>> GridLayers(const v1::Explanation& explanation);

struct Spread {
  float min = 0;
  float mean = 0;
  float max = 0;
};

// REQUIRES: at least one value.
Spread SpreadOf(std::span<const float> values);

// One line per layer with the spread of its weights and support sizes, after `indent` spaces; what
// is wrong with a reply that holds none.
std::string TabulateExplanation(const v1::Explanation& explanation, size_t indent);

}  // namespace contextpool::cli
