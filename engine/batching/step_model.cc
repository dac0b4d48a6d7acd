#include "engine/batching/step_model.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace contextpool::engine {
namespace {

constexpr double kFade = 0.95;
// Below this share of the mean square, the steps' sizes differ too little to tell a fixed part.
constexpr double kLeastSpread = 1e-3;

}  // namespace

void StepModel::Observe(int64_t tokens, Duration duration) {
  const double x = static_cast<double>(tokens);
  double y = std::chrono::duration<double, std::nano>(duration).count();
  if (x <= 0 || y <= 0) return;
  if (known()) y = std::min(y, kLongest * (fixed_ns_ + ns_per_token_ * x));
  weight_ = kFade * weight_ + 1;
  sum_x_ = kFade * sum_x_ + x;
  sum_y_ = kFade * sum_y_ + y;
  sum_xx_ = kFade * sum_xx_ + x * x;
  sum_xy_ = kFade * sum_xy_ + x * y;
  Fit();
}

void StepModel::Fit() {
  // Through the origin, unless a line with a fixed part is better founded and makes sense.
  fixed_ns_ = 0;
  ns_per_token_ = sum_y_ / sum_x_;
  const double spread = weight_ * sum_xx_ - sum_x_ * sum_x_;
  if (spread < kLeastSpread * weight_ * sum_xx_) return;
  const double slope = (weight_ * sum_xy_ - sum_x_ * sum_y_) / spread;
  const double fixed = (sum_y_ - slope * sum_x_) / weight_;
  if (slope <= 0 || fixed <= 0) return;
  fixed_ns_ = fixed;
  ns_per_token_ = slope;
}

Duration StepModel::Predict(int64_t tokens) const {
  return Duration(static_cast<int64_t>(fixed_ns_ + ns_per_token_ * static_cast<double>(tokens)));
}

Duration StepModel::Predict(int64_t tokens, int64_t tokens_per_step) const {
  const int64_t further_steps = std::max<int64_t>(tokens - 1, 0) / tokens_per_step;
  return Predict(tokens) +
         Duration(static_cast<int64_t>(fixed_ns_ * static_cast<double>(further_steps)));
}

double ArrivalRate::Faded(TimePoint now) const {
  const Duration passed = std::max(now - last_, Duration::zero());
  return amount_ * std::exp(-Seconds(passed) / Seconds(memory_));
}

void ArrivalRate::Note(TimePoint now, double amount) {
  amount_ = Faded(now) + amount;
  last_ = now;
}

double ArrivalRate::PerSecond(TimePoint now) const { return Faded(now) / Seconds(memory_); }

}  // namespace contextpool::engine
