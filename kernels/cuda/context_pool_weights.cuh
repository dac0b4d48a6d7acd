// ContextPool's weights: which tiles of 64 rows x 64 tokens matter, and the weights of a warp's 16
// rows and 16 tokens at a time, made where they are multiplied, in registers.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
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

  // Tiles of tokens lie half a tile before those of rows, so that the rows of tile i and 32 tokens
  // on either side of them are in the tiles of tokens i and i + 1.
  static SIMT_HOST_DEVICE int FirstToken(int tile) { return tile * kTokens - kTokens / 2; }
  // Of a sequence of `count` pooled tokens.
  static SIMT_HOST_DEVICE int Count(int count) {
    return (count + kTokens / 2 + kTokens - 1) / kTokens;
  }
};

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
    const float size = support_size.Load(tokens.first + token);
    return std::numbers::log2e_v<float> / (2.0f * size * size + kSupportEps);
  }
};

// A row of the matrix of weights.
struct PoolRow {
  Place place;
  float falloff;
  // Exponents below it do not matter: no row's sum is less than its own token's weight.
  float threshold;
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
SIMT_DEVICE PoolRow FindPoolRow(const PoolWeightsInput& input, int row, float skip_bits) {
  const bool exists = row < input.tokens.count;
  return {.place = PoolPlaceOf<kGrid>(input.tokens, row),
          .falloff = exists ? input.Falloff(row) : 0.0f,
          .threshold = exists ? input.LogWeight(row) - skip_bits : INFINITY,
          .shift = 0};
}

// Of the 16 rows that a warp makes a lane has two: lane / 4 and 8 more.
struct PoolRows {
  PoolRow v[2];
};

template <bool kGrid>
SIMT_DEVICE PoolRows FindPoolRows(const PoolWeightsInput& input, int first, float skip_bits) {
  const int row = first + static_cast<int>(ThreadIdx().x) % 32 / 4;
  return {
      {FindPoolRow<kGrid>(input, row, skip_bits), FindPoolRow<kGrid>(input, row + 8, skip_bits)}};
}

// The smallest rectangle of the grid known to hold some neighbouring tokens.
struct PoolArea {
  float top, bottom;
  float left, right;

  // From the nearest token of the area, in rows and columns.
  SIMT_DEVICE Place GapTo(Place place) const {
    return {fmaxf(0.0f, fmaxf(top - place.row, place.row - bottom)),
            fmaxf(0.0f, fmaxf(left - place.column, place.column - right))};
  }
};

// Of those of the kRows tokens from `first` on that exist; one does.
template <bool kGrid>
SIMT_DEVICE PoolArea FindPoolArea(const PooledTokens& tokens, int first) {
  const int end = first + PoolTile::kRows;
  const Place begin = PoolPlaceOf<kGrid>(tokens, first);
  const Place last = PoolPlaceOf<kGrid>(tokens, (end < tokens.count ? end : tokens.count) - 1);
  if (kGrid && begin.row != last.row) {
    return {begin.row, last.row, 0, static_cast<float>(tokens.width - 1)};
  }
  return {begin.row, last.row, begin.column, last.column};
}

// The rule by which a tile of rows skips tokens: a token at distance d of the nearest row counts at
// most 2^(log_weight - falloff d^2), and no row's sum is less than its own token's weight. All
// lanes of a warp hold the same.
struct PoolSkipRule {
  PoolArea area;
  float falloff;
  float threshold;

  // A NaN is kept.
  SIMT_DEVICE bool Skips(Place place, float log_weight) const {
    return log_weight - falloff * SquaredLength(area.GapTo(place)) <= threshold;
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
  return {.area = FindPoolArea<kGrid>(input.tokens, first_row),
          .falloff = WarpMin(falloff),
          .threshold = WarpMin(least) - skip_bits};
}

// Whether any token of a tile is kept, by one whole warp.
template <bool kGrid>
SIMT_DEVICE bool Keeps(const PoolSkipRule& rule, const PoolWeightsInput& input, int tile) {
  bool keeps = false;
  SIMT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int token = PoolTile::FirstToken(tile) + half * 32 + ThreadIdx().x % 32;
    if (token < 0 || token >= input.tokens.count) continue;
    keeps |= !rule.Skips(PoolPlaceOf<kGrid>(input.tokens, token), input.LogWeight(token));
  }
  return Any(keeps);
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

  // The second one around the rows always comes, though it may have no token.
  SIMT_DEVICE int Next(int tile) const {
    if (tile == row_tile_) return tile + 1;
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
    SIMT_NO_UNROLL
    for (int tile = ThreadIdx().x / 32; tile < count_; tile += kWarps) {
      const bool kept = !IsAround(tile) && Keeps<kGrid>(rule, input, tile);
      if (ThreadIdx().x % 32 == 0) kept_.Store(tile, kept ? 1 : 0);
    }
  }

 private:
  Shared<uint8_t> kept_;
  int row_tile_;
  int count_;
};

// Sets the shift of a warp's rows so that their largest weights are 2^15.
template <bool kGrid>
SIMT_DEVICE void FindShifts(const PoolWeightsInput& input, const PoolTileList& list,
                            PoolRows& rows) {
  float largest[2] = {-INFINITY, -INFINITY};
  for (int tile = list.First(); tile != PoolTileList::kEnd; tile = list.Next(tile)) {
    SIMT_NO_UNROLL
    for (int k = 0; k < PoolTile::kTokens; k += 4) {
      // Which lane takes which token does not matter.
      const int token = PoolTile::FirstToken(tile) + k + ThreadIdx().x % 4;
      if (token < 0 || token >= input.tokens.count) continue;
      const float log_weight = input.LogWeight(token);
      const Place place = PoolPlaceOf<kGrid>(input.tokens, token);
      SIMT_UNROLL
      for (int r = 0; r < 2; ++r) {
        const PoolRow& row = rows.v[r];
        largest[r] = fmaxf(largest[r], row.template Exponent<kGrid>(log_weight, place - row.place));
      }
    }
  }
  SIMT_UNROLL
  for (int r = 0; r < 2; ++r) {
    rows.v[r].shift = WarpMax<4>(largest[r]) - kLargestExponent;
    rows.v[r].threshold -= rows.v[r].shift;
  }
}

// Makes the weights of a warp's rows and the 16 tokens from `first` on, rounded to T, as the left
// factor of a product. False: none of them matters. `log_weights`: of those tokens.
template <typename T, bool kGrid>
SIMT_DEVICE bool MakeWeights(const PooledTokens& tokens, int first, const PoolRows& rows,
                             Shared<const float> log_weights, int begin,
                             Vec<uint32_t, 4>& weights) {
  const int pair = ThreadIdx().x % 4 * 2;
  const Place place = PoolPlaceOf<kGrid>(tokens, first + pair);
  float exponents[2][2][2];
  bool matters = false;
  SIMT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const Vec<float, 2> log_weight = log_weights.LoadVec<2>(begin + half * 8 + pair);
    SIMT_UNROLL
    for (int k = 0; k < 2; ++k) {
      const int number = half * 8 + k;
      const Place other = kGrid ? PoolPlaceOf<kGrid>(tokens, first + pair + number)
                                : Place{0, place.column + static_cast<float>(number)};
      SIMT_UNROLL
      for (int r = 0; r < 2; ++r) {
        const PoolRow& row = rows.v[r];
        float exponent = row.template Exponent<kGrid>(log_weight[k], other - row.place);
        if constexpr (kScalesRows<T>) exponent -= row.shift;
        // NaN matters.
        matters = matters || !(exponent < row.threshold);
        exponents[half][r][k] = exponent;
      }
    }
  }
  if (!Any(matters)) return false;
  SIMT_UNROLL
  for (int part = 0; part < 4; ++part) {
    const float(&pair_exponents)[2] = exponents[part / 2][part % 2];
    weights[part] = Pack<T>(Exp2(pair_exponents[0]), Exp2(pair_exponents[1]));
  }
  return true;
}

}  // namespace contextpool::kernels::SIMT_BACKEND
