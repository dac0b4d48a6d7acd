// Of one sequence of a batch: where its pooled tokens are and how they lie, in a row or on a grid.
#pragma once

#include <cstdint>

#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// A row and a column of the grid, or the distance of two of them.
struct Place {
  float row;
  float column;
};

SIMT_DEVICE Place operator-(Place a, Place b) { return {a.row - b.row, a.column - b.column}; }
SIMT_DEVICE float SquaredLength(Place d) { return d.row * d.row + d.column * d.column; }

// All members are the same for all threads of a block.
struct PooledTokens {
  // Of the batch: the sequence's first token, and the first one that is pooled.
  int begin;
  int first;
  // Pooled ones.
  int count;
  // Columns of their grid; without one they lie in a single row.
  int width;
  float inverse_width;

  // Exact below 2^21 tokens: a quotient is at least half a width'th away from a whole number.
  SIMT_DEVICE int RowOf(int token) const {
    return static_cast<int>((static_cast<float>(token) + 0.5f) * inverse_width);
  }
  SIMT_DEVICE int ColumnOf(int token) const { return token - RowOf(token) * width; }
  SIMT_DEVICE Place PlaceOf(int token) const {
    return {static_cast<float>(RowOf(token)), static_cast<float>(ColumnOf(token))};
  }
  // REQUIRES: count > 0.
  SIMT_DEVICE int Rows() const { return RowOf(count - 1) + 1; }
};

// Of a sequence of `length` tokens; `grid_width` 0: no grid.
SIMT_DEVICE PooledTokens FindPooledTokens(int begin, int length, int prefix, int grid_width) {
  PooledTokens tokens;
  tokens.begin = begin;
  const int before = prefix < length ? prefix : length;
  tokens.first = tokens.begin + before;
  tokens.count = length - before;
  tokens.width = grid_width > 0 ? grid_width : tokens.count;
  tokens.inverse_width = 1.0f / static_cast<float>(tokens.width > 0 ? tokens.width : 1);
  return tokens;
}

}  // namespace contextpool::kernels::SIMT_BACKEND
