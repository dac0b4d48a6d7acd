// All vectors of a run side by side, for --output and --similarity.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace contextpool::cli {

class EmbeddingMatrix {
 public:
  explicit EmbeddingMatrix(size_t rows) : rows_(rows) {}

  // Stores one row. False if its length differs from that of the rows before.
  bool Set(size_t row, std::span<const float> vector);

  size_t rows() const { return rows_; }
  // 0 until the first Set.
  size_t dimensions() const { return dimensions_; }
  // Rows that were set.
  size_t filled() const { return filled_; }
  // [rows, dimensions] row by row; NaN in rows that were never set.
  std::span<const float> values() const { return values_; }
  std::span<const float> row(size_t i) const {
    return values().subspan(i * dimensions_, dimensions_);
  }

 private:
  size_t rows_;
  size_t dimensions_ = 0;
  size_t filled_ = 0;
  std::vector<float> values_;
};

// Euclidean length.
double Norm(std::span<const float> vector);

// Cosine of the angle between two vectors of equal length; NaN if either is zero or NaN.
double Cosine(std::span<const float> a, std::span<const float> b);

}  // namespace contextpool::cli
