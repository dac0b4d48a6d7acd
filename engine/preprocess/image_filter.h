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

// Weights are made in groups of so many, for vectorised code.
inline constexpr int32_t kTapGroup = 4;

// Which pixels make an output, and how much of each: output = sum over t of
// weights()[t] * pixel[first + t]. Reused for one image after another.
class AxisFilter {
 public:
  struct Span {
    int32_t first;
    int32_t taps;
  };

  // For the outputs [begin, begin + count) of an axis whose `from` pixels become `to`.
  // REQUIRES: a filter other than kNearest.
  void Make(Resample filter, int32_t from, int32_t to, int32_t begin, int32_t count);

  int32_t outputs() const { return static_cast<int32_t>(spans_.size()); }
  const Span& span(int32_t output) const { return spans_[output]; }
  int32_t max_taps() const { return max_taps_; }
  size_t weight_bytes() const { return weights_.capacity() * sizeof(int32_t); }

  // [taps], and zeros up to the next multiple of kTapGroup.
  const int32_t* weights(int32_t output) const { return &weights_[size_t{1} * output * stride_]; }
  // The same as weight = high * 2^12 + low, which 16 bits hold: for each group four high parts,
  // then four low ones.
  const int16_t* split(int32_t output) const { return &split_[size_t{2} * output * stride_]; }

 private:
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
