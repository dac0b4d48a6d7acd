#include "kernels/max_pool.h"

#include <algorithm>
#include <limits>

#include "tests/unit/kernels/kernel_test.h"

namespace contextpool::kernels {
namespace {

constexpr float kSentinel = 77.0f;

class MaxPoolTest : public KernelTest {
 protected:
  struct Images {
    Window window;
    int64_t images, height, width, channels;
    std::vector<float> x;
  };

  std::vector<float> Run(const Images& images) {
    const int64_t rows = images.images * Outputs(images.window, images.height) *
                         Outputs(images.window, images.width);
    // One beyond the end.
    std::vector<float> out(rows * images.channels + 1, kSentinel);
    ShuffledStream stream(GetParam(), 2);
    EXPECT_EQ(cpu::MaxPool({.x = images.x.data(),
                            .out = out.data(),
                            .window = images.window,
                            .images = images.images,
                            .height = images.height,
                            .width = images.width,
                            .channels = images.channels},
                           &stream),
              Status::kOk);
    EXPECT_EQ(out.back(), kSentinel);
    out.pop_back();
    return out;
  }

  static std::vector<float> Expected(const Images& im) {
    std::vector<float> expected;
    for (int64_t n = 0; n < im.images; ++n) {
      for (int64_t y = 0; y < Outputs(im.window, im.height); ++y) {
        for (int64_t x = 0; x < Outputs(im.window, im.width); ++x) {
          for (int64_t c = 0; c < im.channels; ++c) expected.push_back(Peak(im, n, y, x, c));
        }
      }
    }
    return expected;
  }

 private:
  static float Peak(const Images& im, int64_t n, int64_t y, int64_t x, int64_t c) {
    std::vector<float> seen;
    for (int64_t v = 0; v < im.height; ++v) {
      for (int64_t u = 0; u < im.width; ++u) {
        const int64_t dy = v - (y * im.window.stride - im.window.padding);
        const int64_t dx = u - (x * im.window.stride - im.window.padding);
        if (dy < 0 || dy >= im.window.size || dx < 0 || dx >= im.window.size) continue;
        seen.push_back(im.x[((n * im.height + v) * im.width + u) * im.channels + c]);
      }
    }
    return *std::max_element(seen.begin(), seen.end());
  }
};

CONTEXTPOOL_TEST_EVERY_ISA(MaxPoolTest);

TEST_P(MaxPoolTest, TakesTheLargestOfEachWindow) {
  for (const Window& window : {Window{3, 2, 1}, Window{2, 2, 0}, Window{3, 1, 2}}) {
    for (int64_t side : {2, 5, 8, 9}) {
      for (int64_t channels : {1, 7, 8, 19}) {
        Images images = {window, 2, side, side + 3, channels, {}};
        images.x = Random(2 * side * (side + 3) * channels);
        // All negative: a padded zero would be the largest.
        for (float& value : images.x) value -= 2;
        EXPECT_EQ(Run(images), Expected(images)) << side << ", " << channels << " channels";
      }
    }
  }
}

TEST_P(MaxPoolTest, ANanOrInfinityStaysInItsWindowsAndChannel) {
  const float infinity = std::numeric_limits<float>::infinity();
  // Windows begin at -1, 1 and 3: position 1 is in the first two, 4 in the last.
  Images images = {{3, 2, 1}, 1, 1, 5, 9, std::vector<float>(5 * 9, -infinity)};
  images.x[1 * 9 + 4] = std::nanf("");
  images.x[4 * 9 + 8] = infinity;
  const std::vector<float> out = Run(images);
  for (int64_t i = 0; i < 3 * 9; ++i) {
    EXPECT_EQ(std::isnan(out[i]), i == 4 || i == 9 + 4) << i;
    if (std::isnan(out[i])) continue;
    EXPECT_EQ(out[i], i == 2 * 9 + 8 ? infinity : -infinity) << i;
  }
}

TEST_P(MaxPoolTest, RefusesWhatItCannotCompute) {
  CpuStream stream(GetParam());
  const std::vector<float> x(16);
  std::vector<float> out(16);
  const MaxPoolParams good = {.x = x.data(),
                              .out = out.data(),
                              .window = {3, 2, 1},
                              .images = 1,
                              .height = 2,
                              .width = 2,
                              .channels = 4};
  ASSERT_EQ(cpu::MaxPool(good, &stream), Status::kOk);
  MaxPoolParams bad = good;
  bad.dtype = DType::kBF16;
  EXPECT_EQ(cpu::MaxPool(bad, &stream), Status::kBadDType);
  bad = good;
  bad.channels = 0;
  EXPECT_EQ(cpu::MaxPool(bad, &stream), Status::kBadShape);
  bad = good;
  bad.window.padding = 0;
  EXPECT_EQ(cpu::MaxPool(bad, &stream), Status::kBadShape);
  bad = good;
  bad.images = -1;
  EXPECT_EQ(cpu::MaxPool(bad, &stream), Status::kBadShape);
}

}  // namespace
}  // namespace contextpool::kernels
