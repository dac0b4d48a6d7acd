// Pooling of tokens against its formula in double precision.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/pool.h"
#include "tests/unit/kernels/cuda/half_test.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

constexpr PoolMode kModes[] = {PoolMode::kMean, PoolMode::kFirst, PoolMode::kMax, PoolMode::kLast};

std::vector<PoolSegment> EveryKindOf(int32_t begin, int32_t end) {
  std::vector<PoolSegment> segments;
  for (const PoolMode mode : kModes) {
    for (const int32_t normalize : {0, 1}) segments.push_back({begin, end, mode, normalize});
  }
  return segments;
}

// One row of out; `at` gives x.
template <typename At>
std::vector<double> InDouble(const PoolSegment& segment, int64_t columns, At at) {
  std::vector<double> row(columns);
  double squares = 0;
  for (int64_t c = 0; c < columns; ++c) {
    double sum = 0, peak = at(segment.begin, c);
    for (int64_t i = segment.begin; i < segment.end; ++i) {
      sum += at(i, c);
      peak = std::max(peak, at(i, c));
    }
    row[c] = segment.mode == PoolMode::kMean    ? sum / (segment.end - segment.begin)
             : segment.mode == PoolMode::kFirst ? at(segment.begin, c)
             : segment.mode == PoolMode::kMax   ? peak
                                                : at(segment.end - 1, c);
    squares += row[c] * row[c];
  }
  if (segment.normalize == 0) return row;
  for (double& value : row) value /= std::max(std::sqrt(squares), 1e-12);
  return row;
}

// `x`: of `dtype`, by its bits.
template <typename T, typename Out>
std::vector<Out> RunPool(DType dtype, DType out_dtype, const std::vector<T>& x, int64_t columns,
                         const std::vector<PoolSegment>& segments, TestStream& stream) {
  TestBuffer<T> device_x(x);
  TestBuffer<PoolSegment> device_segments(segments);
  TestBuffer<Out> out(segments.size() * columns);
  const PoolParams params = {.x = device_x.data(),
                             .segments = device_segments.data(),
                             .out = out.data(),
                             .dtype = dtype,
                             .out_dtype = out_dtype,
                             .segment_count = static_cast<int64_t>(segments.size()),
                             .columns = columns};
  EXPECT_EQ(Pool(params, stream.handle()), Status::kOk);
  EXPECT_EQ(stream.Finish(), "");
  return out.ToHost();
}

class PoolTest : public HalfTest {
 protected:
  std::vector<float> Run(const std::vector<uint16_t>& x, int64_t columns,
                         const std::vector<PoolSegment>& segments, TestStream& stream) {
    return RunPool<uint16_t, float>(GetParam(), DType::kF32, x, columns, segments, stream);
  }
};

TEST_P(PoolTest, MatchesItsFormulaOnEveryScheduleWithAnyLengths) {
  struct Case {
    int64_t columns;
    std::vector<int32_t> lengths;
  };
  for (const Case& c : {Case{8, {1, 7, 8, 9, 40}}, {264, {9, 1}}, {768, {10}}, {2048, {3}}}) {
    std::vector<PoolSegment> segments;
    int32_t tokens = 0;
    for (const int32_t length : c.lengths) {
      std::ranges::copy(EveryKindOf(tokens, tokens + length), std::back_inserter(segments));
      tokens += length;
    }
    const std::vector<uint16_t> x = Random(tokens * c.columns, 2);
    const auto at = [&](int64_t i, int64_t column) { return At(x, i * c.columns + column); };
    for (TestStream& stream : EveryTestStream()) {
      SCOPED_TRACE(testing::Message() << c.columns << " columns, " << stream);
      const std::vector<float> found = Run(x, c.columns, segments, stream);
      for (size_t s = 0; s < segments.size(); ++s) {
        const std::vector<double> expected = InDouble(segments[s], c.columns, at);
        for (int64_t i = 0; i < c.columns; ++i) {
          ASSERT_NEAR(found[s * c.columns + i], expected[i], 1e-5)
              << "segment " << s << " column " << i;
        }
      }
    }
  }
}

TEST_P(PoolTest, MatchesItsFormulaForTheLongestSegments) {
  constexpr int64_t kColumns = 8;
  constexpr int32_t kTokens = 1 << 16;
  const std::vector<uint16_t> x = Random(kTokens * kColumns, 2);
  const auto at = [&](int64_t i, int64_t c) { return At(x, i * kColumns + c); };
  const std::vector<PoolSegment> segments = {{0, kTokens, PoolMode::kMean, 0},
                                             {3, kTokens, PoolMode::kMax, 1}};
  for (TestStream& stream : FewTestStreams()) {
    const std::vector<float> found = Run(x, kColumns, segments, stream);
    for (size_t s = 0; s < segments.size(); ++s) {
      const std::vector<double> expected = InDouble(segments[s], kColumns, at);
      for (int64_t i = 0; i < kColumns; ++i) {
        ASSERT_NEAR(found[s * kColumns + i], expected[i], 1e-5) << stream << ", segment " << s;
      }
    }
  }
}

TEST_P(PoolTest, MatchesItsFormulaForExtremeRows) {
  constexpr int64_t kColumns = 24;
  const std::vector<uint16_t> x = ExtremeRows(kColumns);
  const auto at = [&](int64_t i, int64_t c) { return At(x, i * kColumns + c); };
  std::vector<PoolSegment> segments = EveryKindOf(0, kExtremeRows);
  for (int32_t row = 0; row < kExtremeRows; ++row) {
    // The row of the smallest numbers has a length whose square is 0 in float.
    const std::vector<PoolSegment> of_row = EveryKindOf(row, row + 1);
    for (const PoolSegment& segment : of_row) {
      if (row != 4 || segment.normalize == 0) segments.push_back(segment);
    }
  }
  for (TestStream& stream : EveryTestStream()) {
    const std::vector<float> found = Run(x, kColumns, segments, stream);
    for (size_t s = 0; s < segments.size(); ++s) {
      const std::vector<double> expected = InDouble(segments[s], kColumns, at);
      for (int64_t i = 0; i < kColumns; ++i) {
        ASSERT_NEAR(found[s * kColumns + i], expected[i], std::abs(expected[i]) * 1e-6 + 1e-30)
            << stream << ", segment " << s << " column " << i;
      }
    }
  }
}

TEST_P(PoolTest, WritesTheTypeOfItsInputForHeadsThatGoOn) {
  constexpr int64_t kColumns = 384;
  const std::vector<uint16_t> x = Random(12 * kColumns);
  const std::vector<PoolSegment> segments = EveryKindOf(1, 12);
  const auto at = [&](int64_t i, int64_t column) { return At(x, i * kColumns + column); };
  for (TestStream& stream : EveryTestStream()) {
    const auto found =
        RunPool<uint16_t, uint16_t>(GetParam(), GetParam(), x, kColumns, segments, stream);
    for (size_t s = 0; s < segments.size(); ++s) {
      const std::vector<double> expected = InDouble(segments[s], kColumns, at);
      for (int64_t i = 0; i < kColumns; ++i) {
        ASSERT_NEAR(At(found, s * kColumns + i), expected[i],
                    RoundingError(GetParam(), expected[i]) + 1e-6)
            << stream << ", segment " << s << " column " << i;
      }
    }
  }
}

TEST_P(PoolTest, SegmentsDoNotDependOnTheirNeighboursBitForBit) {
  constexpr int64_t kColumns = 264;
  const std::vector<uint16_t> own = Random(11 * kColumns);
  std::vector<uint16_t> all(30 * kColumns, Half(kNan));
  std::ranges::copy(own, all.begin() + 9 * kColumns);
  TestStream alone = EveryTestStream().front();
  const std::vector<float> expected = Run(own, kColumns, EveryKindOf(0, 11), alone);
  std::vector<PoolSegment> segments = EveryKindOf(0, 9);
  std::ranges::copy(EveryKindOf(9, 20), std::back_inserter(segments));
  for (TestStream& stream : EveryTestStream()) {
    const std::vector<float> found = Run(all, kColumns, segments, stream);
    EXPECT_EQ(Part(found, 8 * kColumns, 8 * kColumns), expected) << stream;
  }
}

TEST_P(PoolTest, TheLargestOfAColumnIsNaNIfOneOfThemIs) {
  constexpr int64_t kColumns = 16, kTokens = 21;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<uint16_t> x = Random(kTokens * kColumns);
  // First, last and in between; a column of nothing but -infinity.
  for (const int64_t i : {0, 20, 13}) x[i * kColumns + i % kColumns] = Half(kNan);
  for (int64_t i = 0; i < kTokens; ++i) x[i * kColumns + 7] = Half(-kInfinity);
  for (TestStream& stream : EveryTestStream()) {
    const std::vector<float> found = Run(x, kColumns, {{0, kTokens, PoolMode::kMax, 0}}, stream);
    for (int64_t c = 0; c < kColumns; ++c) {
      EXPECT_EQ(std::isnan(found[c]), c == 0 || c == 20 % kColumns || c == 13) << stream << c;
    }
    EXPECT_EQ(found[7], -kInfinity) << stream;
  }
}

TEST_P(PoolTest, ARowOfZerosStaysZerosWhenItIsNormalised) {
  const std::vector<uint16_t> x(16, 0);
  TestStream stream = EveryTestStream().front();
  EXPECT_EQ(Run(x, 8, {{0, 2, PoolMode::kMean, 1}}, stream), std::vector<float>(8, 0));
}

TEST_P(PoolTest, AnEmptySegmentGivesZeros) {
  constexpr int64_t kColumns = 264;
  const std::vector<uint16_t> x = Random(3 * kColumns);
  std::vector<PoolSegment> segments = EveryKindOf(0, 0);
  std::ranges::copy(EveryKindOf(3, 3), std::back_inserter(segments));
  segments.push_back({2, 1, PoolMode::kMean, 0});
  TestStream stream = EveryTestStream().front();
  EXPECT_EQ(Run(x, kColumns, segments, stream), std::vector<float>(17 * kColumns, 0));
}

TEST_P(PoolTest, LoadsAndStoresWholeSectorsWithoutBankConflicts) {
  for (const int64_t columns : {16, 384, 768}) {
    TestStream stream = EveryTestStream().front();
    Run(Random(17 * columns), columns, EveryKindOf(0, 17), stream);
    ExpectNoExcess(stream);
  }
}

TEST(Float32PoolTest, MatchesItsFormula) {
  for (const int64_t columns : {8, 264, 2048}) {
    std::vector<float> x(10 * columns);
    for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.3f * static_cast<float>(i));
    const auto at = [&](int64_t i, int64_t c) { return double{x[i * columns + c]}; };
    const std::vector<PoolSegment> segments = EveryKindOf(0, 10);
    for (TestStream& stream : EveryTestStream()) {
      const auto found =
          RunPool<float, float>(DType::kF32, DType::kF32, x, columns, segments, stream);
      for (size_t s = 0; s < segments.size(); ++s) {
        const std::vector<double> expected = InDouble(segments[s], columns, at);
        for (int64_t i = 0; i < columns; ++i) {
          ASSERT_NEAR(found[s * columns + i], expected[i], 1e-6) << stream << ", segment " << s;
        }
      }
      ExpectNoExcess(stream);
    }
  }
}

TEST(PoolLimitsTest, RefusesWhatItCannotTake) {
  const auto status = [](auto change) {
    PoolParams params = {.dtype = DType::kBF16, .segment_count = 0, .columns = 8};
    change(params);
    return Pool(params, EveryTestStream().front().handle());
  };
  EXPECT_EQ(status([](PoolParams&) {}), Status::kOk);
  EXPECT_EQ(status([](PoolParams& p) { p.columns = 12; }), Status::kBadShape);
  EXPECT_EQ(status([](PoolParams& p) { p.columns = 2056; }), Status::kBadShape);
  EXPECT_EQ(status([](PoolParams& p) { p.segment_count = -1; }), Status::kBadShape);
  EXPECT_EQ(status([](PoolParams& p) { p.x = reinterpret_cast<const void*>(8); }),
            Status::kBadShape);
  EXPECT_EQ(status([](PoolParams& p) { p.out_dtype = DType::kF16; }), Status::kBadDType);
  EXPECT_EQ(status([](PoolParams& p) {
              p.dtype = p.out_dtype = DType::kI8;
              p.segment_count = 1;
            }),
            Status::kBadDType);
}

CONTEXTPOOL_TEST_EVERY_HALF(PoolTest);

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
