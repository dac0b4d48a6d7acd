// How ContextPool's weights are divided into tiles, and its workspace into one part per thread. In
// an unnamed namespace because files compiled for different instruction sets include it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kernels/context_pool.h"

namespace contextpool::kernels::cpu {
namespace {

struct ContextPoolScratch {
  // A tile is what is computed or skipped: weights of up to these many rows of the matrix for up to
  // these many tokens. Neither the rows nor the tokens of a tile lie in two rows of a grid.
  static constexpr int64_t kTileRows = 6;
  static constexpr int64_t kTileTokens = 16;
  // The tiles that begin within so many rows share the packed tokens.
  static constexpr int64_t kBlockRows = 16 * kTileRows;

  ContextPoolScratch(void* workspace, int64_t max_length, int thread) {
    peaks = static_cast<float*>(workspace) + thread * Floats(max_length);
    weights = peaks + PeakFloats(max_length);
    packed = weights + WeightFloats(max_length);
  }

  // Of one thread.
  static int64_t Floats(int64_t max_length) {
    return PeakFloats(max_length) + WeightFloats(max_length) + Padded(max_length) * kTileTokens;
  }
  // One for each tile of tokens, of which a grid of one column has the most; they are read 8 at a
  // time.
  static int64_t PeakFloats(int64_t max_length) { return Padded(max_length + 8); }
  // The last tile of a block may reach beyond it. Each of a grid's rows is written in vectors of 8.
  static int64_t WeightFloats(int64_t max_length) {
    return (kBlockRows + kTileRows) * Padded(max_length + 8);
  }

  // Of a row of the grid.
  static int64_t Tiles(int64_t tokens) { return (tokens + kTileTokens - 1) / kTileTokens; }
  static int64_t RowTiles(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
  static int64_t Padded(int64_t n) { return Tiles(n) * kTileTokens; }

  float* peaks;    // [tiles]: the largest log weight of each
  float* weights;  // [kBlockRows + kTileRows, length rounded up]
  float* packed;   // [length rounded up, 16]
};

// Several threads add to the same counts.
inline void Count(ContextPoolTiles* tiles, int64_t computed, int64_t skipped) {
  if (tiles == nullptr) return;
  std::atomic_ref<int64_t>(tiles->computed).fetch_add(computed, std::memory_order_relaxed);
  std::atomic_ref<int64_t>(tiles->skipped).fetch_add(skipped, std::memory_order_relaxed);
}

}  // namespace
}  // namespace contextpool::kernels::cpu
