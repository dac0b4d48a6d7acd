// NumPy's array file, version 1.0.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/status.h"

namespace contextpool::cli {

// The bytes in front of the numbers of a float32 array [rows, columns] in C order. A multiple of
// 64 bytes long.
std::string NpyHeader(size_t rows, size_t columns);

// Writes float32 [rows, columns] to `path` as ReplaceFile does, with its errors. `values` holds
// rows * columns numbers, row by row.
absl::Status WriteNpy(const std::string& path, size_t rows, size_t columns,
                      std::span<const float> values);

}  // namespace contextpool::cli
