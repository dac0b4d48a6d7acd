// How long a step takes, and how fast work arrives: both learned from what happened.
#pragma once

#include <cstdint>

#include "engine/base/clock.h"

namespace contextpool::engine {

// duration = fixed + tokens * per_token, by least squares over past steps of which older ones count
// less and less: a step's weight halves every 14 steps. A step far longer than expected counts as
// kLongest times the expected length, so that one hiccup does not turn callers away for long.
class StepModel {
 public:
  // Steps of no length teach nothing.
  void Observe(int64_t tokens, Duration duration);

  bool known() const { return weight_ > 0; }
  // 0 while nothing is known.
  Duration Predict(int64_t tokens) const;
  // Of as many full steps as it takes.
  Duration Predict(int64_t tokens, int64_t tokens_per_step) const;
  double fixed_ns() const { return fixed_ns_; }
  double ns_per_token() const { return ns_per_token_; }

 private:
  static constexpr double kLongest = 4;
  void Fit();

  // Weighted sums over the steps: of 1, x, y, x^2 and x y, where x is tokens and y nanoseconds.
  double weight_ = 0;
  double sum_x_ = 0;
  double sum_y_ = 0;
  double sum_xx_ = 0;
  double sum_xy_ = 0;
  double fixed_ns_ = 0;
  double ns_per_token_ = 0;
};

// What arrives per second, of which older ones fade: what came `memory` ago counts 1/e.
class ArrivalRate {
 public:
  explicit ArrivalRate(Duration memory) : memory_(memory) {}

  void Note(TimePoint now, double amount);
  double PerSecond(TimePoint now) const;

 private:
  double Faded(TimePoint now) const;

  const Duration memory_;
  double amount_ = 0;
  TimePoint last_{};
};

}  // namespace contextpool::engine
