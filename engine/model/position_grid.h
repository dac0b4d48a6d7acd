// Position embeddings of a grid of patches, brought to a grid of another size.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/image_config.h"

namespace contextpool::engine {

// torch.nn.functional.interpolate(mode="bicubic", align_corners=False) of `grid`, which is
// [from.height, from.width, columns], to [to.height, to.width, columns]. With `antialias` the
// kernel (cubic convolution of a = -0.5, else -0.75) is stretched where the grid shrinks, and
// beyond the edges there is nothing; without it the edges are repeated.
//
// R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
std::vector<float> ResizePositionGrid(std::span<const float> grid, int64_t columns, ImageSize from,
                                      ImageSize to, bool antialias);

}  // namespace contextpool::engine
