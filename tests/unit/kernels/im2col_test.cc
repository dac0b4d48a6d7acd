#include "kernels/im2col.h"

#include "tests/unit/kernels/kernel_test.h"

namespace contextpool::kernels {
namespace {

constexpr float kSentinel = 77.0f;

struct Shape {
  Window window;
  int64_t images, height, width, channels;

  int64_t out_height() const { return Outputs(window, height); }
  int64_t out_width() const { return Outputs(window, width); }
  int64_t rows() const { return images * out_height() * out_width(); }
  int64_t columns() const { return window.size * window.size * channels; }
};
// Odd sizes, windows larger than the image, strides that leave pixels out, channels around a
// vector's 8. The ones of 3 channels serve for pixels too.
constexpr Shape kShapes[] = {
    {{1, 1, 0}, 2, 3, 5, 4},  {{1, 2, 0}, 2, 5, 6, 8}, {{3, 1, 1}, 2, 1, 1, 3},
    {{3, 1, 1}, 3, 4, 7, 17}, {{3, 2, 1}, 2, 7, 4, 9}, {{7, 2, 3}, 2, 13, 10, 3},
    {{7, 2, 3}, 1, 2, 1, 3},  {{4, 4, 0}, 2, 9, 8, 3}, {{5, 3, 2}, 2, 11, 17, 3}};

// Calls visit(row, column, index or -1 for padding) for every element of the matrix; `index` is of
// [images, height, width, channels].
template <typename Visit>
void ForElements(const Shape& s, const Visit& visit) {
  for (int64_t row = 0; row < s.rows(); ++row) {
    const int64_t image = row / (s.out_height() * s.out_width());
    const int64_t top = row / s.out_width() % s.out_height() * s.window.stride - s.window.padding;
    const int64_t left = row % s.out_width() * s.window.stride - s.window.padding;
    for (int64_t column = 0; column < s.columns(); ++column) {
      const int64_t y = top + column / (s.window.size * s.channels);
      const int64_t x = left + column / s.channels % s.window.size;
      const bool inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
      const int64_t index =
          ((image * s.height + y) * s.width + x) * s.channels + column % s.channels;
      visit(row, column, inside ? index : -1);
    }
  }
}

class Im2ColTest : public KernelTest {
 protected:
  static Im2ColParams ParamsOf(const Shape& s) {
    return {.window = s.window,
            .height = s.height,
            .width = s.width,
            .channels = s.channels,
            .rows = s.rows()};
  }

  // The matrix, computed in blocks of `block` rows; nothing beyond a block may be written.
  std::vector<float> Run(Im2ColParams params, const Shape& s, int64_t block) {
    ShuffledStream stream(GetParam(), 3);
    std::vector<float> found;
    for (int64_t begin = 0; begin < s.rows(); begin += block) {
      params.first_row = begin;
      params.rows = std::min(block, s.rows() - begin);
      std::vector<float> out(params.rows * s.columns() + 1, kSentinel);
      params.out = out.data();
      EXPECT_EQ(cpu::Im2Col(params, &stream), Status::kOk);
      EXPECT_EQ(out.back(), kSentinel);
      found.insert(found.end(), out.begin(), out.end() - 1);
    }
    return found;
  }

  std::vector<uint8_t> RandomPixels(int64_t size) {
    std::vector<uint8_t> pixels(size);
    for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random_());
    return pixels;
  }
};

CONTEXTPOOL_TEST_EVERY_ISA(Im2ColTest);

TEST_P(Im2ColTest, PutsEachWindowInARow) {
  for (const Shape& shape : kShapes) {
    const std::vector<float> x = Random(shape.images * shape.height * shape.width * shape.channels);
    std::vector<float> expected(shape.rows() * shape.columns());
    ForElements(shape, [&](int64_t row, int64_t column, int64_t index) {
      expected[row * shape.columns() + column] = index < 0 ? 0.0f : x[index];
    });
    Im2ColParams params = ParamsOf(shape);
    params.x = x.data();
    for (int64_t block : {shape.rows(), int64_t{1}, int64_t{5}}) {
      EXPECT_EQ(Run(params, shape, block), expected)
          << shape.window.size << " over " << shape.height << " x " << shape.width;
    }
  }
}

TEST_P(Im2ColTest, ConvertsPixelsAndPadsWithZero) {
  for (const Shape& shape : kShapes) {
    if (shape.channels != kPixelChannels) continue;
    const std::vector<uint8_t> pixels =
        RandomPixels(shape.images * shape.height * shape.width * shape.channels);
    Im2ColParams params = ParamsOf(shape);
    params.pixels = pixels.data();
    params.scale = {0.01f, 0.02f, -0.03f};
    params.offset = {-1.5f, 0.25f, 2.0f};
    std::vector<double> expected(shape.rows() * shape.columns());
    ForElements(shape, [&](int64_t row, int64_t column, int64_t index) {
      if (index < 0) return;
      const double pixel = pixels[index];
      expected[row * shape.columns() + column] =
          pixel * params.scale[column % 3] + params.offset[column % 3];
    });
    EXPECT_LE(WorstError(Run(params, shape, shape.rows()), expected), 1e-6);
  }
}

TEST_P(Im2ColTest, RefusesWhatItCannotCompute) {
  CpuStream stream(GetParam());
  const std::vector<float> x(100);
  const std::vector<uint8_t> pixels(100);
  std::vector<float> out(100);
  Im2ColParams good = ParamsOf({{3, 1, 1}, 1, 2, 2, 2});
  good.x = x.data();
  good.out = out.data();
  ASSERT_EQ(cpu::Im2Col(good, &stream), Status::kOk);
  const auto refused = [&](auto change) {
    Im2ColParams bad = good;
    change(bad);
    return cpu::Im2Col(bad, &stream);
  };
  EXPECT_EQ(refused([](Im2ColParams& p) { p.dtype = DType::kF16; }), Status::kBadDType);
  EXPECT_EQ(refused([](Im2ColParams& p) { p.window.size = 0; }), Status::kBadShape);
  EXPECT_EQ(refused([](Im2ColParams& p) { p.window.stride = 0; }), Status::kBadShape);
  EXPECT_EQ(refused([](Im2ColParams& p) { p.window.padding = 3; }), Status::kBadShape);
  EXPECT_EQ(refused([](Im2ColParams& p) { p.window = {3, 1, 0}; }), Status::kBadShape);
  EXPECT_EQ(refused([](Im2ColParams& p) { p.first_row = -1; }), Status::kBadShape);
  EXPECT_EQ(refused([](Im2ColParams& p) { p.x = nullptr; }), Status::kBadShape);
  // Both, and pixels of two channels.
  EXPECT_EQ(refused([&](Im2ColParams& p) { p.pixels = pixels.data(); }), Status::kBadShape);
  EXPECT_EQ(refused([&](Im2ColParams& p) {
              p.x = nullptr;
              p.pixels = pixels.data();
            }),
            Status::kBadShape);
}

}  // namespace
}  // namespace contextpool::kernels
