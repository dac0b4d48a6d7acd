// The weights with which Pillow resamples one axis of an image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/base/image_config.h"

namespace contextpool::engine {

// Weights and sums are integers in units of 2^-22: 32 bits less 8 for the pixel and 2 for the sum's
// overshoot (PRECISION_BITS of Pillow's Resample.c, whose results these reproduce).
inline constexpr int kWeightBits = 32 - 8 - 2;

// Which pixels make an output, and how much of each: output = sum over t of
// weights()[t] * pixel[first + t].
class AxisFilter {
 public:
  struct Span {
    int32_t first;
    int32_t taps;
  };

  // The outputs [begin, begin + count) of an axis whose `from` pixels become `to`.
  struct Axis {
    // Not kNearest.
    Resample filter = Resample::kBilinear;
    int32_t from = 0;
    int32_t to = 0;
    int32_t begin = 0;
    int32_t count = 0;

    friend bool operator==(const Axis&, const Axis&) = default;
  };

  // Costs nothing for the same axis as the last time: images often have one size.
  void Make(const Axis& axis);

  int32_t outputs() const { return static_cast<int32_t>(spans_.size()); }
  const Span& span(int32_t output) const { return spans_[output]; }
  int32_t max_taps() const { return max_taps_; }
  size_t weight_bytes() const {
    return weights_.capacity() * sizeof(int32_t) + split_.capacity() * sizeof(int16_t);
  }

  // [max_taps()], zero from `taps` on, and one zero more where that is odd.
  const int32_t* weights(int32_t output) const { return &weights_[size_t{1} * output * stride_]; }
  // The same as weight = high * 2^kLowBits + low, which 16 bits hold: for each two taps the two
  // high parts, then the low ones.
  const int16_t* split(int32_t output) const { return &split_[size_t{2} * output * stride_]; }

 private:
  void MakeSpans(const Axis& axis, double scale, double support);

  Axis axis_;
  std::vector<Span> spans_;
  std::vector<int32_t> weights_;
  std::vector<int16_t> split_;
  std::vector<double> exact_;
  int32_t stride_ = 0;
  int32_t max_taps_ = 0;
};

// Bits of a weight that `low` holds.
inline constexpr int kLowBits = 12;

// The pixels that Pillow's "nearest" takes for the outputs [begin, begin + count); -1: none, which
// is black.
void NearestPixels(int32_t from, int32_t to, int32_t begin, int32_t count,
                   std::vector<int32_t>& pixels);

}  // namespace contextpool::engine
