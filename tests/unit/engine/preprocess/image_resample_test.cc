#include "engine/preprocess/image_resample.h"

#include <cstring>
#include <random>

#include "engine/preprocess/image_rows_avx2.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/image_fixture.h"

namespace contextpool::engine {
namespace {

using Bytes = std::vector<uint8_t>;

// Bytes after the result that nobody may touch.
constexpr size_t kGuard = 64;

Bytes Resized(const Pixels& source, const ResamplePlan& plan, const RowFunctions& rows) {
  const size_t stride = size_t{3} * plan.window.width;
  Bytes out(stride * plan.window.height + kGuard, 0xa5);
  Resampler resampler(rows);
  resampler.Resample(source, plan, out.data(), stride);
  EXPECT_EQ(Bytes(out.end() - kGuard, out.end()), Bytes(kGuard, 0xa5));
  out.resize(out.size() - kGuard);
  return out;
}

ResamplePlan Whole(Resample filter, ImageSize resized) {
  return {.filter = filter, .resized = resized, .window = resized};
}

std::vector<const RowFunctions*> AllRows() {
  std::vector<const RowFunctions*> all = {&PlainRows()};
  if (&BestRows() != &PlainRows()) all.push_back(&BestRows());
  return all;
}

TEST(Resampler, GivesPillowsPixelsInEveryForm) {
  const nlohmann::json cases = GoldenJson("resample.json");
  ASSERT_GT(cases.size(), 60u);
  for (const auto& expected : cases) {
    SCOPED_TRACE(expected.dump());
    const Pixels source = NoisePixels(expected["width"], expected["height"]);
    const ResamplePlan plan = Whole(static_cast<Resample>(expected["filter"].get<int>()),
                                    {expected["to_height"], expected["to_width"]});
    for (const RowFunctions* rows : AllRows()) {
      const Bytes out = Resized(source, plan, *rows);
      EXPECT_EQ(Crc32(out.data(), out.size()), expected["crc32"]);
    }
  }
}

TEST(Resampler, VectorisedFormsGiveThePlainFormsBytes) {
  std::mt19937 random(7);
  for (int i = 0; i < 400; ++i) {
    const auto width = static_cast<int32_t>(1 + random() % 90);
    const auto height = static_cast<int32_t>(1 + random() % 90);
    const Pixels source = NoisePixels(width, height);
    const ResamplePlan plan =
        Whole(static_cast<Resample>(1 + random() % 5),
              {static_cast<int32_t>(1 + random() % 90), static_cast<int32_t>(1 + random() % 90)});
    EXPECT_EQ(Resized(source, plan, BestRows()), Resized(source, plan, PlainRows()))
        << width << " x " << height << " to " << plan.resized.width << " x " << plan.resized.height;
  }
}

TEST(Resampler, ChannelsAreSwappedInEveryForm) {
  for (int32_t count = 0; count < 40; ++count) {
    const Bytes pixels = Noise(count, 1);
    Bytes expected = pixels;
    for (int32_t i = 0; i < count; ++i) std::swap(expected[3 * i], expected[3 * i + 2]);
    for (const RowFunctions* rows : AllRows()) {
      Bytes swapped = pixels;
      rows->swap_channels(swapped.data(), count);
      EXPECT_EQ(swapped, expected) << count;
    }
  }
}

TEST(Resampler, AWindowIsThatPartOfTheWhole) {
  std::mt19937 random(8);
  for (int i = 0; i < 300; ++i) {
    const Pixels source = NoisePixels(1 + random() % 50, 1 + random() % 50);
    const auto filter = static_cast<Resample>(random() % 6);
    const auto height = static_cast<int32_t>(1 + random() % 60);
    const auto width = static_cast<int32_t>(1 + random() % 60);
    ResamplePlan plan = Whole(filter, {height, width});
    const Bytes whole = Resized(source, plan, BestRows());
    plan.left = static_cast<int32_t>(random() % width);
    plan.top = static_cast<int32_t>(random() % height);
    plan.window = {static_cast<int32_t>(1 + random() % (height - plan.top)),
                   static_cast<int32_t>(1 + random() % (width - plan.left))};
    const Bytes part = Resized(source, plan, BestRows());
    for (int32_t y = 0; y < plan.window.height; ++y) {
      const size_t bytes = size_t{3} * plan.window.width;
      EXPECT_EQ(std::memcmp(&part[y * bytes],
                            &whole[(size_t{1} * (plan.top + y) * width + plan.left) * 3], bytes),
                0);
    }
  }
}

TEST(Resampler, ImagesOneAfterAnotherDoNotMixUp) {
  Resampler resampler;
  std::mt19937 random(9);
  for (int i = 0; i < 400; ++i) {
    // Few sizes, so that what is kept for the same size is used, and each of its parts counts.
    const Pixels source = NoisePixels(20 + random() % 2, 20 + random() % 2);
    ResamplePlan plan =
        Whole(static_cast<Resample>(random() % 6),
              {static_cast<int32_t>(25 + random() % 2), static_cast<int32_t>(30 + random() % 2)});
    plan.left = static_cast<int32_t>(random() % 2);
    plan.top = static_cast<int32_t>(random() % 2);
    plan.window = {static_cast<int32_t>(20 + random() % 2),
                   static_cast<int32_t>(20 + random() % 2)};
    const size_t stride = size_t{3} * plan.window.width;
    Bytes out(stride * plan.window.height);
    resampler.Resample(source, plan, out.data(), stride);
    EXPECT_EQ(out, Resized(source, plan, BestRows()));
    if (i % 70 == 0) resampler.Shrink();
  }
}

// Enlarging to sizes that no memory holds costs what the window costs.
TEST(Resampler, WindowsOfHugeImagesAreSmall) {
  const Pixels source = NoisePixels(60000, 1);
  ResamplePlan plan = Whole(Resample::kBicubic, {8000, 480'000'000});
  plan.left = 240'000'000;
  plan.top = 4000;
  plan.window = {16, 16};
  const Bytes out = Resized(source, plan, BestRows());
  // Magnified so much, the middle is as good as one pixel.
  EXPECT_NEAR(out[0], out[45], 2);
  EXPECT_EQ(Bytes(out.begin(), out.begin() + 48), Bytes(out.end() - 48, out.end()));
}

}  // namespace
}  // namespace contextpool::engine
