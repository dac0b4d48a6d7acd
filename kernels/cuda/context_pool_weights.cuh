// ContextPool's weights, 128 rows x 64 tokens at a time: which of these tiles matter, and what is
// in them. A block's threads own four rows and 8 tokens of a tile each.
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
  static constexpr int kThreads = 256;
  static constexpr int kRows = 128;
  static constexpr int kTokens = 64;
  // Elements of 16 bits that a thread loads and stores at once: a chunk.
  static constexpr int kVector = 8;
  static constexpr int kChunks = kTokens / kVector;
  // Rows of the weights that a thread owns, kOwnedDistance apart.
  static constexpr int kOwnedDistance = kThreads / kChunks;
  static constexpr int kOwned = kRows / kOwnedDistance;
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
    const int token = tile * PoolTile::kTokens + half * 32 + ThreadIdx().x % 32;
    if (token >= input.tokens.count) continue;
    const float log_weight = input.LogWeight(token);
    largest = fmaxf(largest, log_weight == log_weight ? log_weight : INFINITY);
  }
  return WarpMax(largest);
}

// The tiles of tokens that a tile of rows computes: all from the first to the last one that
// matters.
struct PoolRange {
  int first;
  int end;
};

// By the whole block; `scratch` has two places for each warp. The rows' own tokens are never
// skipped.
template <bool kGrid>
SIMT_DEVICE PoolRange FindPoolRange(const PoolWeightsInput& input, int first_row, float skip_bits,
                                    Shared<int32_t> scratch) {
  constexpr int kWarps = PoolTile::kThreads / 32;
  const int tiles = (input.tokens.count + PoolTile::kTokens - 1) / PoolTile::kTokens;
  const int behind_own = (first_row + PoolTile::kRows) / PoolTile::kTokens;
  PoolRange range = {first_row / PoolTile::kTokens, behind_own < tiles ? behind_own : tiles};
  const PoolSkipRule rule = FindPoolSkipRule<kGrid>(input, first_row, skip_bits);
  for (int tile = ThreadIdx().x / 32; tile < tiles; tile += kWarps) {
    if (tile >= range.first && tile < range.end) continue;
    const PoolArea area =
        FindPoolArea<kGrid>(input.tokens, tile * PoolTile::kTokens, PoolTile::kTokens);
    if (rule.Skips(area, LargestLogWeight(input, tile))) continue;
    range.first = tile < range.first ? tile : range.first;
    range.end = tile < range.end ? range.end : tile + 1;
  }
  if (ThreadIdx().x % 32 == 0) {
    scratch.StoreVec<2>(ThreadIdx().x / 32 * 2, {range.first, range.end});
  }
  SyncThreads();
  SIMT_UNROLL
  for (int warp = 0; warp < kWarps; ++warp) {
    const Vec<int32_t, 2> other = scratch.LoadVec<2>(warp * 2);
    range.first = other[0] < range.first ? other[0] : range.first;
    range.end = other[1] > range.end ? other[1] : range.end;
  }
  return range;
}

// Sets the shift of the calling thread's rows so that their largest weights are 2^15.
template <bool kGrid>
SIMT_DEVICE void FindShifts(const PoolWeightsInput& input, PoolRange range,
                            PoolRow (&rows)[PoolTile::kOwned]) {
  float largest[PoolTile::kOwned];
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) largest[r] = -INFINITY;
  // Which lane takes which token does not matter: side by side for the memory's sake.
  const int behind = range.end * PoolTile::kTokens;
  const int end = behind < input.tokens.count ? behind : input.tokens.count;
  const int first = range.first * PoolTile::kTokens + ThreadIdx().x % PoolTile::kChunks;
  for (int token = first; token < end; token += PoolTile::kChunks) {
    const float log_weight = input.LogWeight(token);
    const Place place = PoolPlaceOf<kGrid>(input.tokens, token);
    SIMT_UNROLL
    for (int r = 0; r < PoolTile::kOwned; ++r) {
      largest[r] = fmaxf(largest[r], rows[r].Exponent<kGrid>(log_weight, place - rows[r].place));
    }
  }
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    rows[r].shift = WarpMax<PoolTile::kChunks>(largest[r]) - kLargestExponent;
  }
}

// Describes the rows from `first_row` on, each by the threads that own it; their sums are 0.
template <typename T, bool kGrid>
SIMT_DEVICE void StorePoolRows(const PoolWeightsInput& input, int first_row, PoolRange range,
                               Shared<float> shared, Shared<float> sums) {
  PoolRow rows[PoolTile::kOwned];
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    rows[r] = FindPoolRow<kGrid>(input, first_row + OwnedRow(r));
  }
  if constexpr (kScalesRows<T>) FindShifts<kGrid>(input, range, rows);
  if (ThreadIdx().x % PoolTile::kChunks > 0) return;
  SIMT_UNROLL
  for (int r = 0; r < PoolTile::kOwned; ++r) {
    StorePoolRow(shared, OwnedRow(r), rows[r]);
    sums.Store(OwnedRow(r), 0);
  }
}

// Log weights of the block's kThreads tokens from `first` on. A token that does not exist gets the
// weight 0.
SIMT_DEVICE void StoreLogWeights(const PoolWeightsInput& input, int first, int count,
                                 Shared<float> log_weights) {
  const int place = ThreadIdx().x;
  if (place >= count) return;
  const int token = first + place;
  log_weights.Store(SwizzledVector(place / 4) * 4 + place % 4,
                    token < input.tokens.count ? input.LogWeight(token) : -INFINITY);
}

// Writes a tile of weights, rounded to T, of the first `owned` of the thread's rows: the others do
// not exist. If `counts`, adds what was written to the rows' sums.
template <typename T, bool kGrid>
SIMT_DEVICE void MakeWeights(const PooledTokens& tokens, int tile, int owned, bool counts,
                             Shared<const float> log_weights, Shared<const float> rows,
                             Shared<T> weights, Shared<float> sums) {
  const int chunk = ThreadIdx().x % PoolTile::kChunks;
  const Place first =
      PoolPlaceOf<kGrid>(tokens, tile * PoolTile::kTokens + chunk * PoolTile::kVector);
  const auto width = static_cast<float>(tokens.width);
  Vec<float, 4> log_weight[2];
  SIMT_UNROLL
  for (int half = 0; half < 2; ++half) {
    log_weight[half] = log_weights.LoadVec<4>(SwizzledVector(chunk * 2 + half) * 4);
  }
  // Unrolled it would need more registers than there are.
  SIMT_NO_UNROLL
  for (int r = 0; r < owned; ++r) {
    const PoolRow row = LoadPoolRow(rows, OwnedRow(r));
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
        float exponent = row.Exponent<kGrid>(log_weight[pair / 2][pair % 2 * 2 + k], distance);
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
    if (!counts) continue;
    sum = WarpSum<PoolTile::kChunks>(sum);
    if (chunk == 0) sums.Store(OwnedRow(r), sums.Load(OwnedRow(r)) + sum);
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
