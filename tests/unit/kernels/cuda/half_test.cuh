// What tests of kernels in the 16-bit formats share.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/dtype.h"
#include "tests/unit/kernels/cuda/half_values.h"
#include "tests/unit/kernels/cuda/test_device.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// Each body runs for both formats. Inputs are as the kernel sees them: rounded to its type.
class HalfTest : public testing::TestWithParam<DType> {
 protected:
  static constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

  std::vector<uint16_t> Random(int64_t size, float scale = 1) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(size);
    for (float& value : values) value = normal(random_);
    return ToHalf(GetParam(), values);
  }

  // 0 in an array that is not there.
  double At(const std::vector<uint16_t>& values, int64_t i) const {
    return values.empty() ? 0 : FromHalf(GetParam(), values[i]);
  }

  uint16_t Half(double value) const { return ToHalf(GetParam(), static_cast<float>(value)); }

  // [kExtremeRows, columns], hard to normalise: of variance 0, of the smallest numbers, and of the
  // largest ones whose squares a float can sum.
  static constexpr int64_t kExtremeRows = 6;
  std::vector<uint16_t> ExtremeRows(int64_t columns) const {
    const bool is_bf16 = GetParam() == DType::kBF16;
    const double largest = is_bf16 ? 0x1p56 : 65504, smallest = is_bf16 ? 0x1p-133 : 0x1p-24;
    std::vector<uint16_t> rows;
    for (int64_t row = 0; row < kExtremeRows; ++row) {
      for (int64_t i = 0; i < columns; ++i) {
        const double of_row[kExtremeRows] = {0,
                                             largest,
                                             i % 2 == 0 ? largest : -largest,
                                             i == columns - 1 ? largest : 0,
                                             i % 3 == 0 ? smallest : 0,
                                             i % 2 == 0 ? -largest : smallest};
        rows.push_back(Half(of_row[row]));
      }
    }
    return rows;
  }

  // (v - mean) / sqrt(variance + eps) * gamma + beta.
  std::vector<double> Normalized(std::vector<double> v, const std::vector<uint16_t>& gamma,
                                 const std::vector<uint16_t>& beta, double eps) const {
    const auto columns = static_cast<double>(v.size());
    double mean = 0, variance = 0;
    // Divided once: equal values have just their own mean.
    for (const double value : v) mean += value;
    mean /= columns;
    for (const double value : v) variance += (value - mean) * (value - mean) / columns;
    for (size_t i = 0; i < v.size(); ++i) {
      v[i] = (v[i] - mean) / std::sqrt(variance + eps) * At(gamma, i) + At(beta, i);
    }
    return v;
  }

  std::mt19937 random_{17};
};

#define CONTEXTPOOL_TEST_EVERY_HALF(suite)                                          \
  INSTANTIATE_TEST_SUITE_P(Half, suite, testing::Values(DType::kBF16, DType::kF16), \
                           [](const auto& info) { return std::string(Name(info.param)); })

// Elements [first, first + count).
template <typename T>
std::vector<T> Part(const std::vector<T>& values, int64_t first, int64_t count) {
  return {values.begin() + first, values.begin() + first + count};
}

#if defined(__CUDACC__)
inline void ExpectNoExcess(const TestStream&) {}
#else
// No bank conflicts, and no sector of global memory that a warp uses in part. Only the emulator
// counts them.
inline void ExpectNoExcess(const TestStream& stream) {
  const simt::LaunchReport& report = stream.last_report();
  EXPECT_EQ(report.shared.Excess(), 0) << report;
  EXPECT_EQ(report.global.Excess(), 0) << report;
}
#endif

}  // namespace contextpool::kernels::SIMT_BACKEND
