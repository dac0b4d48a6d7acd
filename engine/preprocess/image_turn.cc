#include "engine/preprocess/image_turn.h"

#include <algorithm>
#include <cstring>

namespace contextpool::engine {
namespace {

// Tiles whose rows and columns both stay in the nearest cache.
constexpr int32_t kTile = 32;

// Where upright pixel (0, 0) is stored, and how far its right and lower neighbours are from it, in
// bytes.
struct Walk {
  const uint8_t* origin;
  ptrdiff_t right;
  ptrdiff_t down;
};

Walk WalkOf(const Pixels& stored, int orientation) {
  const auto row = static_cast<ptrdiff_t>(stored.row_bytes());
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Walk walk = {stored.bytes.data(), 3, row};
  if (from_right) {
    walk.origin += row - 3;
    walk.right = -3;
  }
  if (from_bottom) {
    walk.origin += row * (stored.height - 1);
    walk.down = -row;
  }
  // Rows and columns change places.
  if (orientation >= 5) std::swap(walk.right, walk.down);
  return walk;
}

void CopyTile(const Walk& walk, int32_t left, int32_t top, Pixels& upright) {
  const int32_t right = std::min(left + kTile, upright.width);
  const int32_t bottom = std::min(top + kTile, upright.height);
  for (int32_t y = top; y < bottom; ++y) {
    const uint8_t* from = walk.origin + y * walk.down + left * walk.right;
    uint8_t* to = upright.row(y) + ptrdiff_t{3} * left;
    for (int32_t x = left; x < right; ++x, from += walk.right, to += 3) std::memcpy(to, from, 3);
  }
}

}  // namespace

void TurnUpright(const Pixels& stored, int orientation, Pixels& upright) {
  const bool is_turned = orientation >= 5;
  upright.Resize(is_turned ? stored.height : stored.width,
                 is_turned ? stored.width : stored.height);
  const Walk walk = WalkOf(stored, orientation);
  for (int32_t y = 0; y < upright.height; y += kTile) {
    for (int32_t x = 0; x < upright.width; x += kTile) CopyTile(walk, x, y, upright);
  }
}

}  // namespace contextpool::engine
