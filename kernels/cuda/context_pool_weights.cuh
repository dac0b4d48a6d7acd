// ContextPool's weights, 64 rows x 64 tokens at a time: which of these tiles matter, and what is in
// them. A block's threads own four rows and 8 tokens of a tile each.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/context_pool.h"
#include "kernels/cuda/context_pool_tokens.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/warp_reduce.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

struct PoolTile {
  static constexpr int kThreads = 128;
  static constexpr int kRows = 64;
  static constexpr int kTokens = 64;
  // Elements of 16 bits that a thread loads and stores at once: a chunk.
  static constexpr int kVector = 8;
  static constexpr int kChunks = kTokens / kVector;
  // Rows of the weights that a thread owns, kOwnedDistance apart.
  static constexpr int kOwnedDistance = kThreads / kChunks;
  static constexpr int kOwned = kRows / kOwnedDistance;
  static constexpr int kElements = kRows * kTokens;

  // Tiles of tokens lie half a tile before those of rows, so that the rows of tile i and 32 tokens
  // on either side of them are in the tiles of tokens i and i + 1.
  static SIMT_HOST_DEVICE int FirstToken(int tile) { return tile * kTokens - kTokens / 2; }
  // Of a sequence of `count` pooled tokens.
  static SIMT_HOST_DEVICE int Count(int count) {
    return (count + kTokens / 2 + kTokens - 1) / kTokens;
  }
};

// Chunk `chunk` of row `row` in a matrix whose rows are multiples of 64 elements. 8 rows of one
// chunk, and 8 chunks of one row, lie in different banks.
template <int kPitch>
SIMT_DEVICE int SwizzledChunk(int row, int chunk) {
  static_assert(kPitch % 64 == 0);
  return row * kPitch + (chunk ^ row % 8) * PoolTile::kVector;
}

// For floats in vectors of 4: the even ones of 16 vectors, and the odd ones, lie in different
// banks.
SIMT_DEVICE int SwizzledVector(int vector) { return vector ^ vector / 8 % 2; }

// Elements of 2^-24 and more have their place in float16, and 2^15 is below its largest: a row's
// largest weight becomes that. bfloat16 has the range of the weights' bounds.
template <typename T>
constexpr bool kScalesRows = std::is_same_v<T, F16>;
constexpr float kLargestExponent = 15;

struct PoolWeightsInput {
  Global<const float> log_weight;
  Global<const float> support_size;
  PooledTokens tokens;

  SIMT_DEVICE float LogWeight(int token) const { return log_weight.Load(tokens.first + token); }
  // c of the tokens whose sizes these are: a token at distance d counts 2^-(c d^2) times.
  SIMT_DEVICE float Falloff(int token) const {
    constexpr float kLog2E = 1.44269504f;
    const float size = support_size.Load(tokens.first + token);
    return kLog2E / (2.0f * size * size + kSupportEps);
  }
};

// A row of the matrix of weights.
struct PoolRow {
  Place place;
  float falloff;
  // Its weights are 2^-shift times what the formula says.
  float shift;

  // Of a token so far away from it; without a grid `distance.row` is not looked at.
  template <bool kGrid>
  SIMT_DEVICE float Exponent(float log_weight, Place distance) const {
    const float squared = kGrid ? SquaredLength(distance) : distance.column * distance.column;
    return log_weight - falloff * squared;
  }
};

template <bool kGrid>
SIMT_DEVICE Place PoolPlaceOf(const PooledTokens& tokens, int token) {
  if constexpr (kGrid) return tokens.PlaceOf(token);
  return {0, static_cast<float>(token)};
}

// Rows behind the last one get weights too, which nobody uses.
template <bool kGrid>
SIMT_DEVICE PoolRow FindPoolRow(const PoolWeightsInput& input, int row) {
  const bool exists = row < input.tokens.count;
  return {.place = PoolPlaceOf<kGrid>(input.tokens, row),
          .falloff = exists ? input.Falloff(row) : 0.0f,
          .shift = 0};
}

// Number `r` of the rows that the calling thread owns, in the tile.
SIMT_DEVICE int OwnedRow(int r) {
  return ThreadIdx().x / PoolTile::kChunks + r * PoolTile::kOwnedDistance;
}

// The smallest rectangle of the grid known to hold some neighbouring tokens.
struct PoolArea {
  int top, bottom;
  int left, right;
};

// Of those of the `size` tokens from `first` on that exist; one does.
template <bool kGrid>
SIMT_DEVICE PoolArea FindPoolArea(const PooledTokens& tokens, int first, int size) {
  const int end = first + size;
  const int last = (end < tokens.count ? end : tokens.count) - 1;
  if (first < 0) first = 0;
  if constexpr (!kGrid) return {0, 0, first, last};
  const int top = tokens.RowOf(first);
  const int bottom = tokens.RowOf(last);
  if (top != bottom) return {top, bottom, 0, tokens.width - 1};
  return {top, bottom, tokens.ColumnOf(first), tokens.ColumnOf(last)};
}

// Between two intervals.
SIMT_DEVICE float Gap(int first, int last, int other_first, int other_last) {
  const int gap = first > other_last ? first - other_last : other_first - last;
  return static_cast<float>(gap > 0 ? gap : 0);
}

// The rule by which a tile of rows skips tiles of tokens: a token at distance d of the nearest row
// counts at most 2^(log_weight - falloff d^2), and no row's sum is less than its own token's
// weight. All lanes of a warp hold the same.
struct PoolSkipRule {
  PoolArea area;
  float falloff;
  float threshold;

  // A NaN keeps what it is compared with.
  SIMT_DEVICE bool Skips(const PoolArea& other, float largest_log_weight) const {
    const Place gap = {Gap(area.top, area.bottom, other.top, other.bottom),
                       Gap(area.left, area.right, other.left, other.right)};
    return largest_log_weight - falloff * SquaredLength(gap) <= threshold;
  }
};

// For one whole warp. NaN among the rows is not looked at: it spoils its own row anyway.
template <bool kGrid>
SIMT_DEVICE PoolSkipRule FindPoolSkipRule(const PoolWeightsInput& input, int first_row,
                                          float skip_bits) {
  float falloff = INFINITY;
  float least = INFINITY;
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kRows; r += 32) {
    const int row = first_row + r + ThreadIdx().x % 32;
    if (row >= input.tokens.count) continue;
    falloff = fminf(falloff, input.Falloff(row));
    least = fminf(least, input.LogWeight(row));
  }
  return {.area = FindPoolArea<kGrid>(input.tokens, first_row, PoolTile::kRows),
          .falloff = WarpMin(falloff),
          .threshold = WarpMin(least) - skip_bits};
}

// The largest log weight of a tile of tokens, by one whole warp; infinite if there is a NaN.
SIMT_DEVICE float LargestLogWeight(const PoolWeightsInput& input, int tile) {
  float largest = -INFINITY;
  SIMT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int token = PoolTile::FirstToken(tile) + half * 32 + ThreadIdx().x % 32;
    if (token < 0 || token >= input.tokens.count) continue;
    const float log_weight = input.LogWeight(token);
    largest = fmaxf(largest, log_weight == log_weight ? log_weight : INFINITY);
  }
  return WarpMax(largest);
}

// The tiles of tokens that a tile of rows computes: first the two around the rows, then those of
// the others that matter, of which shared memory has a flag for each.
class PoolTileList {
 public:
  // What Next returns behind the last one.
  static constexpr int kEnd = -1;

  SIMT_DEVICE PoolTileList(Shared<uint8_t> kept, int row_tile, int count)
      : kept_(kept), row_tile_(row_tile), count_(count) {}

  SIMT_DEVICE int count() const { return count_; }
  SIMT_DEVICE int First() const { return row_tile_; }
  SIMT_DEVICE bool IsAround(int tile) const { return tile == row_tile_ || tile == row_tile_ + 1; }

  SIMT_DEVICE int Next(int tile) const {
    if (tile == row_tile_ && tile + 1 < count_) return tile + 1;
    for (int other = IsAround(tile) ? 0 : tile + 1; other < count_; ++other) {
      if (kept_.Load(other) != 0) return other;
    }
    return kEnd;
  }

  // By all threads of the block; Next is to be called after a barrier.
  template <bool kGrid>
  SIMT_DEVICE void Fill(const PoolWeightsInput& input, float skip_bits) const {
    constexpr int kWarps = PoolTile::kThreads / 32;
    // All of a short sequence are around the rows.
    if (row_tile_ == 0 && count_ <= 2) {
      const int place = ThreadIdx().x;
      if (place < count_) kept_.Store(place, 0);
      return;
    }
    const PoolSkipRule rule =
        FindPoolSkipRule<kGrid>(input, row_tile_ * PoolTile::kRows, skip_bits);
    for (int tile = ThreadIdx().x / 32; tile < count_; tile += kWarps) {
      const PoolArea area =
          FindPoolArea<kGrid>(input.tokens, PoolTile::FirstToken(tile), PoolTile::kTokens);
      const bool kept = !IsAround(tile) && !rule.Skips(area, LargestLogWeight(input, tile));
      if (ThreadIdx().x % 32 == 0) kept_.Store(tile, kept ? 1 : 0);
    }
  }

 private:
  Shared<uint8_t> kept_;
  int row_tile_;
  int count_;
};

// Sets the shift of the calling thread's rows so that their largest weights are 2^15.
template <bool kGrid>
SIMT_DEVICE void FindShifts(const PoolWeightsInput& input, const PoolTileList& list,
                            PoolRow (&rows)[PoolTile::kOwned]) {
  float largest[PoolTile::kOwned];
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) largest[r] = -INFINITY;
  for (int tile = list.First(); tile != PoolTileList::kEnd; tile = list.Next(tile)) {
    SIMT_UNROLL
    for (int k = 0; k < PoolTile::kVector; ++k) {
      // Which lane takes which token does not matter: side by side for the memory's sake.
      const int token =
          PoolTile::FirstToken(tile) + k * PoolTile::kChunks + ThreadIdx().x % PoolTile::kChunks;
      if (token < 0 || token >= input.tokens.count) continue;
      const float log_weight = input.LogWeight(token);
      const Place place = PoolPlaceOf<kGrid>(input.tokens, token);
      SIMT_UNROLL
      for (int r = 0; r < PoolTile::kOwned; ++r) {
        largest[r] =
            fmaxf(largest[r], rows[r].template Exponent<kGrid>(log_weight, place - rows[r].place));
      }
    }
  }
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    rows[r].shift = WarpMax<PoolTile::kChunks>(largest[r]) - kLargestExponent;
  }
}

// The log weight that the calling thread, one of the first kTokens, stores of a tile. A token that
// does not exist gets the weight 0.
SIMT_DEVICE float FetchLogWeight(const PoolWeightsInput& input, int tile) {
  const int token = PoolTile::FirstToken(tile) + ThreadIdx().x % PoolTile::kTokens;
  return token >= 0 && token < input.tokens.count ? input.LogWeight(token) : -INFINITY;
}
SIMT_DEVICE void StoreLogWeight(float log_weight, Shared<float> log_weights) {
  const int place = ThreadIdx().x % PoolTile::kTokens;
  log_weights.Store(SwizzledVector(place / 4) * 4 + place % 4, log_weight);
}

// Writes a tile of weights, rounded to T, and adds what was written to `sums` of the thread's rows.
template <typename T, bool kGrid>
SIMT_DEVICE void MakeWeights(const PooledTokens& tokens, int tile,
                             const PoolRow (&rows)[PoolTile::kOwned],
                             Shared<const float> log_weights, Shared<T> weights,
                             float (&sums)[PoolTile::kOwned]) {
  const int chunk = ThreadIdx().x % PoolTile::kChunks;
  Vec<float, 4> log_weight[2];
  SIMT_UNROLL
  for (int half = 0; half < 2; ++half) {
    log_weight[half] = log_weights.LoadVec<4>(SwizzledVector(chunk * 2 + half) * 4);
  }
  const int first_token = PoolTile::FirstToken(tile) + chunk * PoolTile::kVector;
  const Place first = PoolPlaceOf<kGrid>(tokens, first_token);
  const auto width = static_cast<float>(tokens.width);
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    const PoolRow& row = rows[r];
    // From token to token, in whole numbers.
    Place distance = first - row.place;
    const float behind_last_column = width - row.place.column;
    float sum = 0;
    Vec<uint32_t, 4> packed;
    SIMT_UNROLL
    for (int pair = 0; pair < 4; ++pair) {
      float weight[2];
      SIMT_UNROLL
      for (int k = 0; k < 2; ++k) {
        float exponent =
            row.template Exponent<kGrid>(log_weight[pair / 2][pair % 2 * 2 + k], distance);
        if constexpr (kScalesRows<T>) exponent -= row.shift;
        weight[k] = Exp2(exponent);
        distance.column += 1;
        if (kGrid && distance.column >= behind_last_column) {
          distance.column -= width;
          distance.row += 1;
        }
      }
      packed[pair] = Pack<T>(weight[0], weight[1]);
      const Vec<float, 2> rounded = Unpack<T>(packed[pair]);
      sum += rounded[0] + rounded[1];
    }
    weights.template As<uint32_t>().StoreVec(
        SwizzledChunk<PoolTile::kTokens>(OwnedRow(r), chunk) / 2, packed);
    sums[r] += sum;
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
