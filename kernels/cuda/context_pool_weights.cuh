// ContextPool's weights, 64 rows x 64 tokens at a time: which of these tiles matter, and what is in
// them. Meant for a block's first kGenerators threads; each owns two rows and 8 tokens of a tile.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/context_pool.h"
#include "kernels/cuda/pooled_tokens.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/warp_reduce.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

struct PoolTile {
  static constexpr int kRows = 64;
  static constexpr int kTokens = 64;
  // Elements of 16 bits that a thread loads and stores at once: a chunk.
  static constexpr int kVector = 8;
  static constexpr int kChunks = kTokens / kVector;
  // Rows of the weights that a thread owns, kOwnedDistance apart.
  static constexpr int kOwned = 2;
  static constexpr int kOwnedDistance = kRows / kOwned;
  static constexpr int kGenerators = kChunks * kOwnedDistance;
  static constexpr int kElements = kRows * kTokens;
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

  SIMT_DEVICE float Exponent(float log_weight, Place token) const {
    return log_weight -
           falloff * SquaredLength({token.row - place.row, token.column - place.column});
  }
};

// Rows behind the last one get weights too, which nobody uses.
SIMT_DEVICE PoolRow FindPoolRow(const PoolWeightsInput& input, int row) {
  const bool exists = row < input.tokens.count;
  return {.place = input.tokens.PlaceOf(row),
          .falloff = exists ? input.Falloff(row) : 0.0f,
          .shift = 0};
}

// Rows in shared memory, a vector of 4 for each: registers are for the sums.
SIMT_DEVICE void StorePoolRow(Shared<float> rows, int index, const PoolRow& row) {
  rows.StoreVec<4>(index * 4, {row.place.row, row.place.column, row.falloff, row.shift});
}
SIMT_DEVICE PoolRow LoadPoolRow(Shared<const float> rows, int index) {
  const Vec<float, 4> row = rows.LoadVec<4>(index * 4);
  return {.place = {row[0], row[1]}, .falloff = row[2], .shift = row[3]};
}

// Number `r` of the rows that the calling thread owns, in the tile.
SIMT_DEVICE int OwnedRow(int r) {
  return ThreadIdx().x / PoolTile::kChunks + r * PoolTile::kOwnedDistance;
}

// The smallest rectangle of the grid known to hold the tokens of a tile.
struct PoolArea {
  int top, bottom;
  int left, right;
};

SIMT_DEVICE PoolArea FindPoolArea(const PooledTokens& tokens, int tile) {
  const int first = tile * PoolTile::kTokens;
  const int end = first + PoolTile::kTokens;
  const int last = (end < tokens.count ? end : tokens.count) - 1;
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
SIMT_DEVICE PoolSkipRule FindPoolSkipRule(const PoolWeightsInput& input, int row_tile,
                                          float skip_bits) {
  float falloff = INFINITY;
  float least = INFINITY;
  SIMT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = row_tile * PoolTile::kRows + half * 32 + ThreadIdx().x % 32;
    if (row >= input.tokens.count) continue;
    falloff = fminf(falloff, input.Falloff(row));
    least = fminf(least, input.LogWeight(row));
  }
  return {.area = FindPoolArea(input.tokens, row_tile),
          .falloff = WarpMin(falloff),
          .threshold = WarpMin(least) - skip_bits};
}

// The largest log weight of a tile of tokens, by one whole warp; infinite if there is a NaN.
SIMT_DEVICE float LargestLogWeight(const PoolWeightsInput& input, int tile) {
  float largest = -INFINITY;
  SIMT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int token = tile * PoolTile::kTokens + half * 32 + ThreadIdx().x % 32;
    if (token >= input.tokens.count) continue;
    const float log_weight = input.LogWeight(token);
    largest = fmaxf(largest, log_weight == log_weight ? log_weight : INFINITY);
  }
  return WarpMax(largest);
}

// The tiles of tokens that a tile of rows computes: a flag for each in shared memory.
struct PoolTileList {
  Shared<uint8_t> kept;
  int count;

  // The first one from `tile` on; `count` if there is none.
  SIMT_DEVICE int Next(int tile) const {
    while (tile < count && kept.Load(tile) == 0) ++tile;
    return tile < count ? tile : count;
  }
  SIMT_DEVICE int Kept() const {
    int sum = 0;
    for (int tile = 0; tile < count; ++tile) sum += kept.Load(tile);
    return sum;
  }
};

// By all `warps` of the block; to be read after a barrier. The rows' own tokens are never skipped.
SIMT_DEVICE void FillPoolTileList(const PoolWeightsInput& input, int row_tile, float skip_bits,
                                  int warps, const PoolTileList& list) {
  const PoolSkipRule rule = FindPoolSkipRule(input, row_tile, skip_bits);
  for (int tile = ThreadIdx().x / 32; tile < list.count; tile += warps) {
    const float largest = LargestLogWeight(input, tile);
    const bool kept = tile == row_tile || !rule.Skips(FindPoolArea(input.tokens, tile), largest);
    if (ThreadIdx().x % 32 == 0) list.kept.Store(tile, kept ? 1 : 0);
  }
}

// Sets the shift of the calling thread's rows so that their largest weights are 2^15.
SIMT_DEVICE void FindShifts(const PoolWeightsInput& input, const PoolTileList& list,
                            PoolRow (&rows)[PoolTile::kOwned]) {
  float largest[PoolTile::kOwned] = {-INFINITY, -INFINITY};
  for (int tile = list.Next(0); tile < list.count; tile = list.Next(tile + 1)) {
    SIMT_UNROLL
    for (int k = 0; k < PoolTile::kVector; ++k) {
      // Which lane takes which token does not matter: side by side for the memory's sake.
      const int token =
          tile * PoolTile::kTokens + k * PoolTile::kChunks + ThreadIdx().x % PoolTile::kChunks;
      if (token >= input.tokens.count) continue;
      const float log_weight = input.LogWeight(token);
      const Place place = input.tokens.PlaceOf(token);
      SIMT_UNROLL
      for (int r = 0; r < PoolTile::kOwned; ++r) {
        largest[r] = fmaxf(largest[r], rows[r].Exponent(log_weight, place));
      }
    }
  }
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    rows[r].shift = WarpMax<PoolTile::kChunks>(largest[r]) - kLargestExponent;
  }
}

// The calling thread's log weights of a tile, as CopyLogWeights put them there.
SIMT_DEVICE Vec<float, 4> LoadLogWeights(Shared<const float> log_weights, int chunk, int half) {
  return log_weights.LoadVec<4>(SwizzledVector(chunk * 2 + half) * 4);
}

// By the first kTokens threads of the block.
SIMT_DEVICE void CopyLogWeights(const PoolWeightsInput& input, int tile,
                                Shared<float> log_weights) {
  const int place = ThreadIdx().x;
  if (place >= PoolTile::kTokens) return;
  const int token = tile * PoolTile::kTokens + place;
  const bool exists = token < input.tokens.count;
  CopyAsync<4>(log_weights, SwizzledVector(place / 4) * 4 + place % 4, input.log_weight,
               exists ? input.tokens.first + token : 0, exists ? 4 : 0);
}

// Writes a tile of weights, rounded to T, and adds what was written to `sums` of the thread's rows.
template <typename T>
SIMT_DEVICE void MakeWeights(const PooledTokens& tokens, int tile, Shared<const float> log_weights,
                             Shared<const float> pool_rows, Shared<T> weights,
                             float (&sums)[PoolTile::kOwned]) {
  PoolRow rows[PoolTile::kOwned];
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) rows[r] = LoadPoolRow(pool_rows, OwnedRow(r));
  const int chunk = ThreadIdx().x % PoolTile::kChunks;
  Vec<uint32_t, 4> packed[PoolTile::kOwned];
  SIMT_UNROLL
  for (int pair = 0; pair < 4; ++pair) {
    float pairs[PoolTile::kOwned][2];
    const Vec<float, 4> four = LoadLogWeights(log_weights, chunk, pair / 2);
    SIMT_UNROLL
    for (int k = 0; k < 2; ++k) {
      const int token = tile * PoolTile::kTokens + chunk * PoolTile::kVector + pair * 2 + k;
      const Place place = tokens.PlaceOf(token);
      SIMT_UNROLL
      for (int r = 0; r < PoolTile::kOwned; ++r) {
        float exponent = rows[r].Exponent(four[pair % 2 * 2 + k], place);
        if constexpr (kScalesRows<T>) exponent -= rows[r].shift;
        pairs[r][k] = token < tokens.count ? Exp2(exponent) : 0.0f;
      }
    }
    SIMT_UNROLL
    for (int r = 0; r < PoolTile::kOwned; ++r) {
      packed[r][pair] = Pack<T>(pairs[r][0], pairs[r][1]);
      const Vec<float, 2> rounded = Unpack<T>(packed[r][pair]);
      sums[r] += rounded[0] + rounded[1];
    }
  }
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    weights.template As<uint32_t>().StoreVec(
        SwizzledChunk<PoolTile::kTokens>(OwnedRow(r), chunk) / 2, packed[r]);
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
