#include "engine/base/float16.h"

#include <bit>
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

TEST(Float16Test, EveryF16IsExact) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    ExpectSame(FloatFromF16(static_cast<uint16_t>(bits)), F16ByFormula(bits), bits);
  }
}

TEST(Float16Test, EveryBF16IsExact) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    ExpectSame(FloatFromBF16(static_cast<uint16_t>(bits)), BF16ByFormula(bits), bits);
  }
}

// Every finite number, what lies half way to the next one, and the float32 on each side of that.
void ExpectNearestEven(uint16_t (*narrow)(float), double (*value_of)(uint32_t), uint16_t largest) {
  for (uint16_t bits = 0; bits < largest; ++bits) {
    const auto value = static_cast<float>(value_of(bits));
    const auto middle = static_cast<float>((value_of(bits) + value_of(bits + 1)) / 2);
    ASSERT_EQ(narrow(value), bits);
    ASSERT_EQ(narrow(-value), bits | 0x8000);
    ASSERT_EQ(narrow(middle), bits % 2 == 0 ? bits : bits + 1) << bits;
    ASSERT_EQ(narrow(std::nextafter(middle, 0.0f)), bits) << bits;
    ASSERT_EQ(narrow(std::nextafter(middle, INFINITY)), bits + 1) << bits;
  }
}

TEST(Float16Test, EveryF16AndEveryMiddleIsRoundedToTheNearestEven) {
  ExpectNearestEven([](float value) { return F16FromFloat(value); }, F16ByFormula, 0x7bff);
  EXPECT_EQ(F16FromFloat(65519.99f), 0x7bff);
  EXPECT_EQ(F16FromFloat(65520), 0x7c00);
}

TEST(Float16Test, EveryBF16AndEveryMiddleIsRoundedToTheNearestEven) {
  ExpectNearestEven([](float value) { return BF16FromFloat(value); }, BF16ByFormula, 0x7f7f);
  EXPECT_EQ(BF16FromFloat(std::bit_cast<float>(0x7f7f8000u)), 0x7f80);
}

TEST(Float16Test, NothingBecomesAnInfinityThatIsNone) {
  EXPECT_TRUE(std::isnan(FloatFromF16(F16FromFloat(NAN))));
  EXPECT_TRUE(std::isnan(FloatFromBF16(BF16FromFloat(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_EQ(FloatFromF16(F16FromFloat(-INFINITY)), -INFINITY);
  EXPECT_EQ(FloatFromBF16(BF16FromFloat(INFINITY)), INFINITY);
}

}  // namespace
}  // namespace contextpool::engine
