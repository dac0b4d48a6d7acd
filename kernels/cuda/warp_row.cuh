// Rows in the registers of a warp: what kernels that work row by row are built of.
#pragma once

#include <cstdint>

#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// How rows are dealt out: one warp a row, a few rows a block.
struct RowTraits {
  static constexpr int kThreads = 128;
  static constexpr int kRows = kThreads / 32;
  // Elements of 16 bits that a lane loads at once.
  static constexpr int kVector = 8;
  // What a warp loads at once. A row held as a whole has up to kMaxSteps of it: 64 registers a
  // lane.
  static constexpr int kStep = 32 * kVector;
  static constexpr int kMaxSteps = 8;
};

// The row of this warp, the same for all its lanes.
SIMT_DEVICE int64_t RowOfWarp() {
  return int64_t{BlockIdx().x} * RowTraits::kRows + ThreadIdx().x / 32;
}

// kSteps * 32 * kVector neighbouring columns of a row, in float; kVector neighbours a lane and
// step.
template <int kSteps, int kVector = RowTraits::kVector>
class WarpRow {
 public:
  static constexpr int kColumns = kSteps * 32 * kVector;

  // Zeros. Columns from `first` on; those from `columns`, a multiple of kVector, on do not exist.
  SIMT_DEVICE explicit WarpRow(int columns, int first = 0)
      : columns_(columns), first_(first + static_cast<int>(ThreadIdx().x % 32) * kVector) {}

  SIMT_DEVICE int columns() const { return columns_; }

  // Calls use(values, column) for the lane's vector of one step, kVector values from `column` on,
  // if these columns exist.
  template <typename Use>
  SIMT_DEVICE void ForVector(int step, Use use) {
    const int column = first_ + step * 32 * kVector;
    if (column < columns_) use(values_[step], column);
  }

  // The same for all steps.
  template <typename Use>
  SIMT_DEVICE void ForVectors(Use use) {
    SIMT_UNROLL
    for (int step = 0; step < kSteps; ++step) ForVector(step, use);
  }

  // value = change(value, loaded) with a row whose column 0 is element `begin` of `from`.
  template <typename T, typename Change>
  SIMT_DEVICE void Combine(const Global<T>& from, int64_t begin, Change change) {
    ForVectors([&](float* values, int column) {
      const auto loaded = from.template LoadVec<kVector>(begin + column);
      SIMT_UNROLL
      for (int k = 0; k < kVector; ++k) values[k] = change(values[k], ToFloat(loaded[k]));
    });
  }

  template <typename T>
  SIMT_DEVICE void Add(const Global<T>& from, int64_t begin) {
    Combine(from, begin, [](float value, float loaded) { return value + loaded; });
  }

  // This lane's share of the sum of term(value) over the row.
  template <typename Term>
  SIMT_DEVICE float LaneSum(Term term) {
    float sum = 0;
    ForVectors([&](const float* values, int /*column*/) {
      SIMT_UNROLL
      for (int k = 0; k < kVector; ++k) sum += term(values[k]);
    });
    return sum;
  }

  // Writes function(value) to a row whose column 0 is element `begin` of `to`.
  template <typename T, typename Function>
  SIMT_DEVICE void Store(const Global<T>& to, int64_t begin, Function function) {
    ForVectors([&](const float* values, int column) {
      Vec<T, kVector> result;
      SIMT_UNROLL
      for (int k = 0; k < kVector; ++k) result[k] = FromFloat<T>(function(values[k]));
      to.StoreVec(begin + column, result);
    });
  }

 private:
  int columns_;
  int first_;
  float values_[kSteps][kVector] = {};
};

}  // namespace contextpool::kernels::SIMT_BACKEND
