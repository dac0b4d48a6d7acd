#include "engine/preprocess/image_filter.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace contextpool::engine {
namespace {

// The filters of Pillow's Resample.c as functions of the distance from the output's centre, with
// the same roundings in the same order.

double Box(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }

double Triangle(double x) { return std::max(0.0, 1 - std::abs(x)); }

double Hamming(double x) {
  x = std::abs(x);
  if (x == 0) return 1;
  if (x >= 1) return 0;
  x *= std::numbers::pi;
  return std::sin(x) / x * (0.54f + 0.46f * std::cos(x));
}

double Bicubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0;
}

double Sinc(double x) {
  if (x == 0) return 1;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double Lanczos(double x) { return x >= -3 && x < 3 ? Sinc(x) * Sinc(x / 3) : 0; }

struct Kernel {
  double (*function)(double);
  // Beyond this distance it is 0.
  double support;
};

Kernel KernelOf(Resample filter) {
  switch (filter) {
    case Resample::kLanczos:
      return {Lanczos, 3};
    case Resample::kBicubic:
      return {Bicubic, 2};
    case Resample::kHamming:
      return {Hamming, 1};
    case Resample::kBox:
      return {Box, 0.5};
    case Resample::kBilinear:
    case Resample::kNearest:
      break;
  }
  return {Triangle, 1};
}

int32_t ToWeight(double exact) {
  constexpr double kOne = 1 << kWeightBits;
  return static_cast<int32_t>(exact < 0 ? exact * kOne - 0.5 : exact * kOne + 0.5);
}

int32_t LowPart(int32_t weight) {
  constexpr int32_t kHalf = 1 << (kLowBits - 1);
  return ((weight + kHalf) & ((1 << kLowBits) - 1)) - kHalf;
}

void Split(const int32_t* weights, int32_t count, int16_t* split) {
  for (int32_t t = 0; t < count; ++t) {
    const int32_t low = LowPart(weights[t]);
    int16_t* pair = split + t / 2 * 4 + t % 2;
    pair[0] = static_cast<int16_t>((weights[t] - low) >> kLowBits);
    pair[2] = static_cast<int16_t>(low);
  }
}

}  // namespace

void AxisFilter::MakeSpans(const Axis& axis, double scale, double support) {
  spans_.resize(axis.count);
  max_taps_ = 0;
  for (int32_t i = 0; i < axis.count; ++i) {
    const double center = (axis.begin + i + 0.5) * scale;
    const int32_t first = std::max(static_cast<int32_t>(center - support + 0.5), 0);
    const int32_t end = std::min(static_cast<int32_t>(center + support + 0.5), axis.from);
    spans_[i] = {first, end - first};
    max_taps_ = std::max(max_taps_, end - first);
  }
}

void AxisFilter::Make(const Axis& axis) {
  if (axis == axis_) return;
  // Nothing, should memory run out below.
  axis_ = Axis();
  const Kernel kernel = KernelOf(axis.filter);
  const double scale = static_cast<double>(axis.from) / axis.to;
  // Shrinking widens the filter, which is the antialiasing.
  const double width = std::max(scale, 1.0);
  const double per_width = 1.0 / width;
  MakeSpans(axis, scale, kernel.support * width);
  stride_ = (max_taps_ + 1) / 2 * 2;
  weights_.assign(size_t{1} * axis.count * stride_, 0);
  split_.resize(size_t{2} * axis.count * stride_);
  exact_.resize(max_taps_);
  for (int32_t i = 0; i < axis.count; ++i) {
    const Span& span = spans_[i];
    const double center = (axis.begin + i + 0.5) * scale;
    double sum = 0;
    for (int32_t t = 0; t < span.taps; ++t) {
      exact_[t] = kernel.function((t + span.first - center + 0.5) * per_width);
      sum += exact_[t];
    }
    int32_t* weights = &weights_[size_t{1} * i * stride_];
    for (int32_t t = 0; t < span.taps; ++t) {
      weights[t] = ToWeight(sum == 0 ? exact_[t] : exact_[t] / sum);
    }
    Split(weights, stride_, &split_[size_t{2} * i * stride_]);
  }
  axis_ = axis;
}

void NearestPixels(int32_t from, int32_t to, int32_t begin, int32_t count,
                   std::vector<int32_t>& pixels) {
  // Pillow adds up the steps, and so do their rounding errors.
  const double step = static_cast<double>(from) / to;
  double at = step * 0.5;
  for (int32_t i = 0; i < begin; ++i) at += step;
  pixels.resize(count);
  for (int32_t& pixel : pixels) {
    const auto whole = static_cast<int32_t>(at);
    pixel = whole < from ? whole : -1;
    at += step;
  }
}

}  // namespace contextpool::engine
