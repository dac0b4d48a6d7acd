#include "engine/model/float_conversion.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

// The standard's formula, in double precision.
double F16ByFormula(uint32_t bits) {
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  const int exponent = static_cast<int>((bits >> 10) & 31);
  const int mantissa = static_cast<int>(bits & 1023);
  if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

double BF16ByFormula(uint32_t bits) {
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  const int exponent = static_cast<int>((bits >> 7) & 255);
  const int mantissa = static_cast<int>(bits & 127);
  if (exponent == 255) return mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(mantissa, -133);
  return sign * std::ldexp(128 + mantissa, exponent - 134);
}

void ExpectSame(float found, double wanted, uint32_t bits) {
  if (std::isnan(wanted)) {
    EXPECT_TRUE(std::isnan(found)) << bits;
    return;
  }
  EXPECT_EQ(static_cast<double>(found), wanted) << bits;
  EXPECT_EQ(std::signbit(found), std::signbit(wanted)) << bits;
}

TEST(FloatConversionTest, EveryF16IsExact) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    ExpectSame(FloatFromF16(static_cast<uint16_t>(bits)), F16ByFormula(bits), bits);
  }
}

TEST(FloatConversionTest, EveryBF16IsExact) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    ExpectSame(FloatFromBF16(static_cast<uint16_t>(bits)), BF16ByFormula(bits), bits);
  }
}

}  // namespace
}  // namespace contextpool::engine
