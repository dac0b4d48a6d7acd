// The inner loops of preparing an image.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/preprocess/image_filter.h"

namespace contextpool::engine {

// Rows that are filtered along together, so that they share the weights' preparation.
inline constexpr int32_t kRowGroup = 4;

// One implementation of all. All implementations give the same bytes.
struct RowFunctions {
  // For each row of the group: the output [filter.outputs(), 3] from pixels [..., 3].
  // REQUIRES: kImageSlackBytes readable after each row's last pixel and writable after each output.
  void (*along)(const std::array<const uint8_t*, kRowGroup>& rows, const AxisFilter& filter,
                const std::array<uint8_t*, kRowGroup>& out);

  // The output row [bytes] from the rows of the output's span. REQUIRES: one row more, which must
  // be readable and does not count; kImageSlackBytes readable after each row.
  void (*across)(const uint8_t* const* rows, const AxisFilter& filter, int32_t output, size_t bytes,
                 uint8_t* out);

  // Exchanges the first and the third channel of pixels [count, 3].
  void (*swap_channels)(uint8_t* pixels, size_t count);
};

// The plain form that every CPU runs.
const RowFunctions& PlainRows();

// The fastest form for this CPU.
const RowFunctions& BestRows();

}  // namespace contextpool::engine
