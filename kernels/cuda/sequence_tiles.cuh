// Tiles of rows of a packed batch, found by the blocks themselves: the host knows no lengths.
//
// The tiles of sequence s get the numbers from cu_lengths[s] / rows + s on. A sequence of n tokens
// has ceil(n / rows) tiles and at least floor(n / rows) + 1 numbers, at most one more than tiles:
// that one stands for an empty tile. There are tokens / rows + sequences numbers, whatever the
// lengths.
#pragma once

#include <cstdint>

#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

constexpr int64_t TileNumbers(int64_t tokens, int64_t sequences, int rows) {
  return tokens / rows + sequences;
}

struct SequenceTile {
  // The sequence's first token in the batch.
  int begin;
  int length;
  // The tile's first row in the sequence. Not below `length`: the tile is empty.
  int first;
};

// The last of `count` numbers for which `holds` does, which begins with true and does not come back
// from false; 0 if there is none. All lanes of a warp search together, each in a 32nd of what is
// left: one question for 32 numbers, two for 1024.
template <typename Holds>
SIMT_DEVICE int FindLast(int count, const Holds& holds) {
  const int lane = ThreadIdx().x % 32;
  int low = 0;
  while (count > 1) {
    const int end = low + count;
    const int step = (count + 31) / 32;
    const int candidate = low + lane * step;
    int found = candidate < end && holds(candidate) ? candidate : low;
    SIMT_UNROLL
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      const int other = ShuffleXor(found, lanes);
      found = other > found ? other : found;
    }
    low = found;
    count = step < end - low ? step : end - low;
  }
  return low;
}

// For whole warps.
SIMT_DEVICE SequenceTile FindTile(Global<const int32_t> cu_lengths, int sequences, int rows,
                                  int tile) {
  const int sequence =
      FindLast(sequences, [&](int s) { return cu_lengths.Load(s) / rows + s <= tile; });
  const int begin = cu_lengths.Load(sequence);
  return {.begin = begin,
          .length = cu_lengths.Load(sequence + 1) - begin,
          .first = (tile - begin / rows - sequence) * rows};
}

}  // namespace contextpool::kernels::SIMT_BACKEND
