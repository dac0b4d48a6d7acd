// The tokens that enter an image transformer, against their definition.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/patch_tokens.h"
#include "tests/unit/kernels/cuda/half_test.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

struct Shape {
  int64_t images;
  int64_t tokens;
  int64_t prefix;
  int64_t columns;

  int64_t patches() const { return images * (tokens - prefix); }
};

class PatchTokensTest : public HalfTest {
 protected:
  std::vector<uint16_t> Run(const Shape& shape, const std::vector<uint16_t>& patches,
                            const std::vector<uint16_t>& table, TestStream& stream) {
    TestBuffer<uint16_t> device_patches(patches), device_table(table),
        out(shape.images * shape.tokens * shape.columns);
    const PatchTokensParams params = {.patches = device_patches.data(),
                                      .table = device_table.data(),
                                      .out = out.data(),
                                      .dtype = GetParam(),
                                      .images = shape.images,
                                      .tokens = shape.tokens,
                                      .prefix = shape.prefix,
                                      .columns = shape.columns};
    EXPECT_EQ(PatchTokens(params, stream.handle()), Status::kOk);
    EXPECT_EQ(stream.Finish(), "");
    return out.ToHost();
  }
};

TEST_P(PatchTokensTest, MatchesItsDefinitionOnEverySchedule) {
  for (const Shape& s :
       {Shape{3, 5, 1, 8}, {2, 4, 0, 520}, {2, 3, 2, 1032}, {2, 2, 2, 16}, {1, 1, 0, 384}}) {
    const auto patches = Random(s.patches() * s.columns), table = Random(s.tokens * s.columns);
    for (TestStream& stream : EveryTestStream()) {
      SCOPED_TRACE(testing::Message() << s.tokens << " x " << s.columns << ", " << stream);
      const std::vector<uint16_t> found = Run(s, patches, table, stream);
      for (int64_t row = 0; row < s.images * s.tokens; ++row) {
        const int64_t image = row / s.tokens, token = row % s.tokens;
        const int64_t patch = image * (s.tokens - s.prefix) + token - s.prefix;
        for (int64_t i = 0; i < s.columns; ++i) {
          double expected = At(table, token * s.columns + i);
          if (token >= s.prefix) expected += At(patches, patch * s.columns + i);
          ASSERT_NEAR(At(found, row * s.columns + i), expected, RoundingError(GetParam(), expected))
              << "row " << row << " column " << i;
        }
      }
    }
  }
}

TEST_P(PatchTokensTest, MatchesItsDefinitionForAWholeImage) {
  const Shape shape = {.images = 1, .tokens = 197, .prefix = 1, .columns = 768};
  const auto patches = Random(shape.patches() * 768), table = Random(shape.tokens * 768);
  for (TestStream& stream : FewTestStreams()) {
    const std::vector<uint16_t> found = Run(shape, patches, table, stream);
    for (int64_t i = 0; i < shape.tokens * 768; ++i) {
      const double expected = At(table, i) + (i < 768 ? 0 : At(patches, i - 768));
      ASSERT_NEAR(At(found, i), expected, RoundingError(GetParam(), expected)) << stream << i;
    }
  }
}

TEST_P(PatchTokensTest, SumsOfTheLargestAndSmallestNumbersRoundAsTheTypeDoes) {
  const std::vector<uint16_t> patches = ExtremeRows(264);
  std::vector<uint16_t> table;
  for (const double value : {1.0, -65504.0, 65504.0, 0x1p-24, 0.0, 0x1p56}) {
    table.insert(table.end(), 264, Half(value));
  }
  for (TestStream& stream : EveryTestStream()) {
    const std::vector<uint16_t> found = Run({1, kExtremeRows, 0, 264}, patches, table, stream);
    for (size_t i = 0; i < found.size(); ++i) {
      const float sum = static_cast<float>(At(patches, i)) + static_cast<float>(At(table, i));
      ASSERT_EQ(found[i], ToHalf(GetParam(), sum)) << stream << i;
    }
  }
}

TEST_P(PatchTokensTest, AnImageOfNaNsStaysAmongItself) {
  const Shape shape = {.images = 3, .tokens = 4, .prefix = 1, .columns = 264};
  const int64_t image = shape.tokens * shape.columns, patches = 3 * shape.columns;
  const auto table = Random(image), own = Random(patches);
  std::vector<uint16_t> all(3 * patches, Half(kNan));
  std::ranges::copy(own, all.begin() + patches);
  for (TestStream& stream : EveryTestStream()) {
    const std::vector<uint16_t> found = Run(shape, all, table, stream);
    const std::vector<uint16_t> alone = Run({1, 4, 1, 264}, own, table, stream);
    EXPECT_EQ(Part(found, image, image), alone) << stream;
  }
}

TEST_P(PatchTokensTest, LoadsAndStoresWholeSectors) {
  const Shape shape = {.images = 2, .tokens = 5, .prefix = 1, .columns = 768};
  TestStream stream = EveryTestStream().front();
  Run(shape, Random(shape.patches() * 768), Random(5 * 768), stream);
  ExpectNoExcess(stream);
}

TEST(PatchTokensLimitsTest, RefusesWhatItCannotTake) {
  const auto status = [](auto change) {
    PatchTokensParams params = {
        .dtype = DType::kF16, .images = 0, .tokens = 5, .prefix = 1, .columns = 8};
    change(params);
    return PatchTokens(params, EveryTestStream().front().handle());
  };
  EXPECT_EQ(status([](PatchTokensParams&) {}), Status::kOk);
  EXPECT_EQ(status([](PatchTokensParams& p) { p.columns = 12; }), Status::kBadShape);
  EXPECT_EQ(status([](PatchTokensParams& p) { p.prefix = 6; }), Status::kBadShape);
  EXPECT_EQ(status([](PatchTokensParams& p) { p.images = -1; }), Status::kBadShape);
  EXPECT_EQ(status([](PatchTokensParams& p) { p.images = int64_t{1} << 29; }), Status::kBadShape);
  EXPECT_EQ(status([](PatchTokensParams& p) { p.out = reinterpret_cast<void*>(8); }),
            Status::kBadShape);
  EXPECT_EQ(status([](PatchTokensParams& p) {
              p.dtype = DType::kF32;
              p.images = 1;
            }),
            Status::kBadDType);
}

CONTEXTPOOL_TEST_EVERY_HALF(PatchTokensTest);

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
