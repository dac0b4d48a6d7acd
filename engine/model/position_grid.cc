#include "engine/model/position_grid.h"

#include <algorithm>
#include <cmath>

namespace contextpool::engine {
namespace {

// What one output of an axis is summed from.
struct Tap {
  int64_t input = 0;
  double weight = 0;
};
using Taps = std::vector<Tap>;

// Keys' kernel at a distance of x.
double Cubic(double x, double a) {
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

Taps RepeatedEdgeTaps(int64_t output, int64_t from, int64_t to) {
  const double place =
      (static_cast<double>(output) + 0.5) * static_cast<double>(from) / static_cast<double>(to) -
      0.5;
  const auto first = static_cast<int64_t>(std::floor(place)) - 1;
  Taps taps;
  for (int64_t i = first; i < first + 4; ++i) {
    taps.push_back(
        {std::clamp<int64_t>(i, 0, from - 1), Cubic(place - static_cast<double>(i), -0.75)});
  }
  return taps;
}

Taps AntialiasedTaps(int64_t output, int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double stretch = std::max(scale, 1.0);
  const double center = (static_cast<double>(output) + 0.5) * scale;
  const auto begin =
      std::max<int64_t>(0, static_cast<int64_t>(std::floor(center - 2 * stretch + 0.5)));
  const auto end =
      std::min<int64_t>(from, static_cast<int64_t>(std::floor(center + 2 * stretch + 0.5)));
  Taps taps;
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) {
    taps.push_back({i, Cubic((static_cast<double>(i) + 0.5 - center) / stretch, -0.5)});
    sum += taps.back().weight;
  }
  for (Tap& tap : taps) tap.weight /= sum;
  return taps;
}

// Along the middle axis of [outer, from, inner].
std::vector<float> ResizeAxis(std::span<const float> values, int64_t from, int64_t to,
                              int64_t inner, bool antialias) {
  const int64_t outer = static_cast<int64_t>(values.size()) / (from * inner);
  std::vector<float> result(outer * to * inner);
  std::vector<double> sums(inner);
  for (int64_t output = 0; output < to; ++output) {
    const Taps taps =
        antialias ? AntialiasedTaps(output, from, to) : RepeatedEdgeTaps(output, from, to);
    for (int64_t o = 0; o < outer; ++o) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (const Tap& tap : taps) {
        const float* row = values.data() + (o * from + tap.input) * inner;
        for (int64_t i = 0; i < inner; ++i) sums[i] += tap.weight * row[i];
      }
      std::copy(sums.begin(), sums.end(), result.begin() + (o * to + output) * inner);
    }
  }
  return result;
}

}  // namespace

std::vector<float> ResizePositionGrid(std::span<const float> grid, int64_t columns, ImageSize from,
                                      ImageSize to, bool antialias) {
  const std::vector<float> wide = ResizeAxis(grid, from.width, to.width, columns, antialias);
  return ResizeAxis(wide, from.height, to.height, to.width * columns, antialias);
}

}  // namespace contextpool::engine
