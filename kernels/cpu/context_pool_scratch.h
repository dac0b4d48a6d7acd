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
  // A tile is what is computed or skipped: weights of these many rows for these many tokens.
  static constexpr int64_t kTileRows = 6;
  static constexpr int64_t kTileTokens = 16;
  // Rows that share the packed tokens.
  static constexpr int64_t kBlockRows = 16 * kTileRows;

  ContextPoolScratch(void* workspace, int64_t max_length, int thread) {
    const int64_t length = Padded(max_length);
    peaks = static_cast<float*>(workspace) + thread * Floats(max_length);
    weights = peaks + Padded(Tiles(max_length));
    packed = weights + kBlockRows * length;
  }

  // Of one thread.
  static int64_t Floats(int64_t max_length) {
    return Padded(Tiles(max_length)) + Padded(max_length) * (kBlockRows + kTileTokens);
  }

  static int64_t Tiles(int64_t tokens) { return (tokens + kTileTokens - 1) / kTileTokens; }
  static int64_t RowTiles(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
  static int64_t Padded(int64_t n) { return Tiles(n) * kTileTokens; }

  float* peaks;    // [tiles, rounded up]: the largest log weight of each
  float* weights;  // [kBlockRows, length rounded up]
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
