// What launchers of kernels that work row by row share.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/check.h"
#include "kernels/cuda/launch_config.h"
#include "kernels/cuda/warp_row.cuh"
#include "kernels/dtype.h"
#include "kernels/launch.h"

namespace contextpool::kernels::SIMT_BACKEND {

// One warp for each row, and for each `columns_per_warp` of its columns.
inline LaunchConfig RowLaunch(const char* kernel, int64_t rows, int64_t columns,
                              int64_t columns_per_warp) {
  return {.kernel = kernel,
          .grid = {BlocksFor(rows, RowTraits::kRows), BlocksFor(columns, columns_per_warp)},
          .block = {RowTraits::kThreads}};
}

// Columns that a warp can hold as a whole.
inline bool FitsWarpRow(int64_t columns) {
  return columns > 0 && columns <= RowTraits::kMaxSteps * RowTraits::kStep;
}

// Returns launch(std::integral_constant<int, steps>) for the fewest steps compiled that hold
// `columns`. REQUIRES: FitsWarpRow.
template <typename F>
Status WithSteps(int64_t columns, F launch) {
  const int64_t steps = (columns + RowTraits::kStep - 1) / RowTraits::kStep;
  if (steps <= 1) return launch(std::integral_constant<int, 1>());
  if (steps <= 2) return launch(std::integral_constant<int, 2>());
  if (steps <= 3) return launch(std::integral_constant<int, 3>());
  if (steps <= 4) return launch(std::integral_constant<int, 4>());
  return launch(std::integral_constant<int, RowTraits::kMaxSteps>());
}

}  // namespace contextpool::kernels::SIMT_BACKEND
