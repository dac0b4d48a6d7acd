// What the kernels' tests share: each body runs once per implementation, against formulas in double
// precision.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu_stream.h"

namespace contextpool::kernels {

// Runs the tasks backwards, as `threads` threads in turn, so that order and thread cannot matter.
class ShuffledStream final : public CpuStream {
 public:
  ShuffledStream(Isa isa, int threads) : CpuStream(isa), threads_(threads) {}
  int threads() const override { return threads_; }
  void Run(int64_t tasks, Task task, const void* context) override {
    for (int64_t i = tasks - 1; i >= 0; --i) task(context, i, static_cast<int>(i % threads_));
  }

 private:
  int threads_;
};

class KernelTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > BestIsa()) GTEST_SKIP() << "this CPU lacks " << Name(GetParam());
  }

  // Uniform in [-scale, scale].
  std::vector<float> Random(int64_t size, float scale = 1) {
    std::uniform_real_distribution<float> uniform(-scale, scale);
    std::vector<float> values(size);
    for (float& value : values) value = uniform(random_);
    return values;
  }

  std::mt19937 random_{17};
};

inline std::string IsaName(const testing::TestParamInfo<Isa>& info) { return Name(info.param); }

#define CONTEXTPOOL_TEST_EVERY_ISA(suite) \
  INSTANTIATE_TEST_SUITE_P(Cpu, suite, testing::Values(Isa::kReference, Isa::kAvx2), IsaName)

// The worst |found - expected|; NaN where only one of the two is.
inline double WorstError(const std::vector<float>& found, const std::vector<double>& expected) {
  double worst = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(found[i]) && std::isnan(expected[i])) continue;
    const double error = std::abs(found[i] - expected[i]);
    if (!(error <= worst)) worst = error;
    if (std::isnan(error)) break;
  }
  return worst;
}

// LayerNorm in double precision, in place.
inline void NormalizeInDouble(std::vector<double>& row, const float* gamma, const float* beta,
                              double eps) {
  double mean = 0;
  for (double v : row) mean += v / static_cast<double>(row.size());
  double variance = 0;
  for (double v : row) variance += (v - mean) * (v - mean) / static_cast<double>(row.size());
  for (size_t c = 0; c < row.size(); ++c) {
    row[c] = (row[c] - mean) / std::sqrt(variance + eps) * gamma[c] + beta[c];
  }
}

}  // namespace contextpool::kernels
