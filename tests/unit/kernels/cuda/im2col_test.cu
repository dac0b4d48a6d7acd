// Pixels to the rows of patches, against their definition.

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/im2col.h"
#include "tests/unit/kernels/cuda/half_test.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

constexpr std::array<float, 3> kScale = {0.017f, 0.0175f, 0.0173f};
constexpr std::array<float, 3> kOffset = {-2.1f, -2.0f, 1.8f};

struct Shape {
  int64_t images;
  int64_t height;
  int64_t width;
  int64_t size;

  int64_t patch_rows() const { return height / size; }
  int64_t patch_columns() const { return width / size; }
  int64_t rows() const { return images * patch_rows() * patch_columns(); }
  int64_t row_elements() const { return size * size * 3; }
  int64_t bytes() const { return images * height * width * 3; }
  // Of element `i` of a row.
  int64_t PixelByte(int64_t row, int64_t i) const {
    const int64_t strip = row / patch_columns(), image = strip / patch_rows();
    const int64_t y = strip % patch_rows() * size + i / (3 * size);
    const int64_t x = row % patch_columns() * size * 3 + i % (3 * size);
    return (image * height + y) * width * 3 + x;
  }
};

class PatchRowsTest : public HalfTest {
 protected:
  std::vector<uint8_t> RandomPixels(int64_t bytes) {
    std::vector<uint8_t> pixels(bytes);
    for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random_());
    return pixels;
  }

  std::vector<uint16_t> Run(const Shape& shape, const std::vector<uint8_t>& pixels,
                            int64_t first_row, int64_t rows, TestStream& stream) {
    TestBuffer<uint8_t> device_pixels(pixels);
    TestBuffer<uint16_t> out(rows * shape.row_elements());
    const Im2ColParams params = {.pixels = device_pixels.data(),
                                 .scale = kScale,
                                 .offset = kOffset,
                                 .out = out.data(),
                                 .dtype = GetParam(),
                                 .window = {.size = shape.size, .stride = shape.size},
                                 .height = shape.height,
                                 .width = shape.width,
                                 .channels = kPixelChannels,
                                 .first_row = first_row,
                                 .rows = rows};
    EXPECT_EQ(Im2Col(params, stream.handle()), Status::kOk);
    EXPECT_EQ(stream.Finish(), "");
    return out.ToHost();
  }

  void ExpectRows(const Shape& shape, const std::vector<uint8_t>& pixels, int64_t first_row,
                  const std::vector<uint16_t>& found) {
    for (size_t i = 0; i < found.size(); ++i) {
      const int64_t row = first_row + static_cast<int64_t>(i) / shape.row_elements();
      const int64_t element = static_cast<int64_t>(i) % shape.row_elements();
      const double expected = double{kScale[element % 3]} * pixels[shape.PixelByte(row, element)] +
                              kOffset[element % 3];
      ASSERT_NEAR(At(found, i), expected, RoundingError(GetParam(), expected) + 1e-6)
          << "row " << row << " element " << element;
    }
  }
};

TEST_P(PatchRowsTest, MatchesItsDefinitionOnEverySchedule) {
  for (const Shape& s : {Shape{2, 16, 24, 8},
                         {1, 32, 64, 16},
                         // Wider than a warp's part of a line.
                         {1, 8, 400, 8},
                         // Not of whole wide vectors.
                         {2, 28, 42, 14},
                         {1, 2, 200, 2},
                         // Pixels beyond the last whole patch.
                         {1, 28, 90, 14},
                         {2, 21, 20, 8},
                         {2, 17, 40, 16}}) {
    const std::vector<uint8_t> pixels = RandomPixels(s.bytes());
    for (TestStream& stream : EveryTestStream()) {
      SCOPED_TRACE(testing::Message() << s.width << " / " << s.size << ", " << stream);
      ExpectRows(s, pixels, 0, Run(s, pixels, 0, s.rows(), stream));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(PatchRowsTest, MatchesItsDefinitionForAWholeImage) {
  for (const Shape& s : {Shape{1, 224, 224, 16}, {1, 224, 224, 14}}) {
    const std::vector<uint8_t> pixels = RandomPixels(s.bytes());
    for (TestStream& stream : FewTestStreams()) {
      ExpectRows(s, pixels, 0, Run(s, pixels, 0, s.rows(), stream));
    }
  }
}

TEST_P(PatchRowsTest, WritesAnyRangeOfRows) {
  const Shape shape = {.images = 3, .height = 16, .width = 24, .size = 8};
  const std::vector<uint8_t> pixels = RandomPixels(shape.bytes());
  std::vector<TestStream> streams = EveryTestStream();
  size_t turn = 0;
  for (int64_t first = 0; first < shape.rows(); ++first) {
    for (int64_t rows = 1; rows <= shape.rows() - first; ++rows) {
      SCOPED_TRACE(testing::Message() << "rows from " << first << ": " << rows);
      TestStream& stream = streams[turn++ % streams.size()];
      ExpectRows(shape, pixels, first, Run(shape, pixels, first, rows, stream));
    }
  }
}

TEST_P(PatchRowsTest, LoadsAndStoresWholeSectors) {
  for (const Shape& s : {Shape{1, 16, 224, 16}, {1, 32, 64, 32}}) {
    TestStream stream = EveryTestStream().front();
    Run(s, RandomPixels(s.bytes()), 0, s.rows(), stream);
    ExpectNoExcess(stream);
  }
}

TEST(PatchRowsLimitsTest, RefusesWhatIsNoPatchesOfPixels) {
  std::vector<uint8_t> pixels(16);
  const auto status = [&](auto change) {
    TestBuffer<uint8_t> device_pixels(pixels);
    Im2ColParams params = {.pixels = device_pixels.data(),
                           .dtype = DType::kBF16,
                           .window = {.size = 16, .stride = 16},
                           .height = 32,
                           .width = 32,
                           .channels = kPixelChannels};
    change(params);
    return Im2Col(params, EveryTestStream().front().handle());
  };
  EXPECT_EQ(status([](Im2ColParams&) {}), Status::kOk);
  EXPECT_EQ(status([](Im2ColParams& p) { p.window.stride = 8; }), Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) { p.window.padding = 1; }), Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) { p.window = {.size = 7, .stride = 7}; }),
            Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) { p.width = 33; }), Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) { p.height = 15; }), Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) { p.height = 1 << 15; }), Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) { p.channels = 4; }), Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) { p.x = p.pixels; }), Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) { ++p.pixels; }), Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) { p.first_row = -1; }), Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) { p.rows = int64_t{1} << 31; }), Status::kBadShape);
  EXPECT_EQ(status([](Im2ColParams& p) {
              p.dtype = DType::kF32;
              p.rows = 1;
            }),
            Status::kBadDType);
}

CONTEXTPOOL_TEST_EVERY_HALF(PatchRowsTest);

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
