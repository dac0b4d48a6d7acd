#include "engine/preprocess/image_view.h"

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

struct Case {
  ImageSize image;
  int32_t shortest_edge;
  ImageSize resize;
  ImageSize read;
  ImageView view;
};

// By transformers 5.24.0: the sizes of get_resize_output_image_size, and where center_crop puts an
// image whose pixels are their own row and column.
constexpr Case kCases[] = {
    {{480, 640}, 256, {0, 0}, {224, 224}, {{256, 341}, 58, 16}},
    {{640, 480}, 256, {0, 0}, {224, 224}, {{341, 256}, 16, 58}},
    {{1000, 333}, 235, {0, 0}, {224, 224}, {{705, 235}, 5, 240}},
    {{300, 301}, 224, {0, 0}, {224, 224}, {{224, 224}, 0, 0}},
    {{37, 53}, 0, {256, 248}, {224, 224}, {{256, 248}, 12, 16}},
    {{21, 30}, 0, {0, 0}, {8, 12}, {{21, 30}, 9, 6}},
    {{20, 31}, 0, {0, 0}, {9, 12}, {{20, 31}, 9, 5}},
    {{3, 3}, 0, {0, 0}, {6, 4}, {{3, 3}, -1, -2}},
    {{5, 9}, 0, {0, 0}, {8, 4}, {{5, 9}, 2, -2}},
    {{2, 9}, 20, {0, 0}, {25, 25}, {{20, 90}, 32, -3}},
    {{1, 600}, 64, {0, 0}, {56, 56}, {{64, 38400}, 19172, 4}},
    {{480, 640}, 0, {224, 224}, {224, 224}, {{224, 224}, 0, 0}},
};

TEST(ImageView, IsWhereTransformersResizesAndCrops) {
  for (const Case& c : kCases) {
    ImageConfig config;
    config.size = c.read;
    config.shortest_edge = c.shortest_edge;
    config.resize = c.resize;
    config.center_crop = true;
    const ImageView view = ViewOf(config, c.image);
    EXPECT_EQ(view, c.view) << c.image.height << " x " << c.image.width << " to "
                            << view.resized.height << " x " << view.resized.width << " at "
                            << view.top << ", " << view.left;
  }
}

TEST(ImageView, BoxesAreSharesOfTheImage) {
  ImageConfig config;
  config.size = {224, 224};
  config.resize = config.size;
  EXPECT_EQ(BoxOf(config, ViewOf(config, {480, 640})), (ImageBox{0, 0, 1, 1}));
  config.resize = {256, 448};
  EXPECT_EQ(BoxOf(config, ViewOf(config, {480, 640})), (ImageBox{0.25f, 0.0625f, 0.5f, 0.875f}));
  config.resize = {};
  EXPECT_EQ(BoxOf(config, ViewOf(config, {112, 64})), (ImageBox{-1.25f, -0.5f, 3.5f, 2}));
}

}  // namespace
}  // namespace contextpool::engine
