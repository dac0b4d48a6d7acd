// Convolutions and max pooling through the device.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "engine/device/cpu_device.h"

namespace contextpool::engine {
namespace {

using testing::HasSubstr;

struct Shape {
  kernels::Window window;
  int64_t images, height, width, channels, out_channels;

  int64_t out_height() const { return kernels::Outputs(window, height); }
  int64_t out_width() const { return kernels::Outputs(window, width); }
  int64_t patch() const { return window.size * window.size * channels; }
  int64_t outputs() const { return images * out_height() * out_width() * out_channels; }
};
// The features themselves as patches; few outputs; blocks of several threads.
constexpr Shape kShapes[] = {{{1, 1, 0}, 2, 5, 4, 9, 17},   {{1, 2, 0}, 2, 5, 4, 9, 17},
                             {{3, 1, 1}, 1, 6, 5, 7, 16},   {{3, 2, 1}, 3, 20, 23, 5, 33},
                             {{3, 1, 1}, 2, 31, 17, 20, 3}, {{7, 2, 3}, 2, 33, 35, 3, 20}};

class CpuConvolutionTest : public testing::TestWithParam<CpuGemm> {
 protected:
  CpuConvolutionTest() : device_(*CreateCpuDevice({.threads = 2, .gemm = GetParam()})) {}

  std::vector<float> Random(int64_t size) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> values(size);
    for (float& value : values) value = uniform(random_);
    return values;
  }

  static TensorView MapOf(const std::vector<float>& values, const Shape& s) {
    return TensorView(const_cast<float*>(values.data()), DType::kF32,
                      {s.images, s.height, s.width, s.channels});
  }
  static TensorView OutOf(const std::vector<float>& values, const Shape& s) {
    return TensorView(const_cast<float*>(values.data()), DType::kF32,
                      {s.images, s.out_height(), s.out_width(), s.out_channels});
  }

  // A layer with random weights, and what it must compute.
  struct Layer {
    std::vector<float> weight, bias;
    std::unique_ptr<LinearWeight> prepared;
    std::vector<std::byte> workspace;

    TensorView scratch() {
      return TensorView(workspace.data(), DType::kU8, {static_cast<int64_t>(workspace.size())});
    }
  };
  Layer MakeLayer(const Shape& s) {
    Layer layer = {Random(s.out_channels * s.patch()), Random(s.out_channels), nullptr, {}};
    layer.prepared = *device_->PrepareLinear(layer.weight, layer.bias, s.out_channels);
    layer.workspace.resize(device_->ConvolutionWorkspaceBytes(*layer.prepared));
    return layer;
  }

  // By the definition, in double precision; `value(index)` of [images, height, width, channels].
  template <typename Value>
  static std::vector<double> Expected(const Shape& s, const Layer& layer, const Value& value) {
    std::vector<double> expected;
    for (int64_t row = 0; row < s.outputs() / s.out_channels; ++row) {
      const int64_t image = row / (s.out_height() * s.out_width());
      const int64_t top = row / s.out_width() % s.out_height() * s.window.stride - s.window.padding;
      const int64_t left = row % s.out_width() * s.window.stride - s.window.padding;
      for (int64_t o = 0; o < s.out_channels; ++o) {
        double sum = layer.bias[o];
        for (int64_t k = 0; k < s.patch(); ++k) {
          const int64_t y = top + k / (s.window.size * s.channels);
          const int64_t x = left + k / s.channels % s.window.size;
          if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
          sum += layer.weight[o * s.patch() + k] *
                 value(((image * s.height + y) * s.width + x) * s.channels + k % s.channels);
        }
        expected.push_back(sum);
      }
    }
    return expected;
  }

  static void ExpectNear(const std::vector<float>& found, const std::vector<double>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 2e-5) << i;
  }

  std::mt19937 random_{5};
  std::unique_ptr<Device> device_;
};

INSTANTIATE_TEST_SUITE_P(Gemm, CpuConvolutionTest,
                         testing::Values(CpuGemm::kPacked, CpuGemm::kLibTorch),
                         [](const testing::TestParamInfo<CpuGemm>& info) {
                           return info.param == CpuGemm::kPacked ? "packed" : "libtorch";
                         });

TEST_P(CpuConvolutionTest, SumsEachWindow) {
  for (const Shape& shape : kShapes) {
    Layer layer = MakeLayer(shape);
    const std::vector<float> x = Random(shape.images * shape.height * shape.width * shape.channels);
    std::vector<float> out(shape.outputs());
    device_->Convolution(MapOf(x, shape), *layer.prepared, {.window = shape.window}, {},
                         layer.scratch(), OutOf(out, shape));
    ASSERT_TRUE(device_->Synchronize().ok());
    ExpectNear(out, Expected(shape, layer, [&](int64_t i) -> double { return x[i]; }));
  }
}

TEST_P(CpuConvolutionTest, ActivatesTheSumWithTheResidual) {
  for (const Shape& shape : kShapes) {
    Layer layer = MakeLayer(shape);
    const std::vector<float> x = Random(shape.images * shape.height * shape.width * shape.channels);
    const std::vector<float> residual = Random(shape.outputs());
    std::vector<float> out(shape.outputs());
    device_->Convolution(MapOf(x, shape), *layer.prepared,
                         {.window = shape.window, .activation = kernels::Activation::kRelu},
                         OutOf(residual, shape), layer.scratch(), OutOf(out, shape));
    ASSERT_TRUE(device_->Synchronize().ok());
    std::vector<double> expected =
        Expected(shape, layer, [&](int64_t i) -> double { return x[i]; });
    for (size_t i = 0; i < expected.size(); ++i) {
      expected[i] = std::max(expected[i] + residual[i], 0.0);
    }
    ExpectNear(out, expected);
  }
}

TEST_P(CpuConvolutionTest, ReadsPixelsAndPadsThemWithZero) {
  for (const Shape& shape : kShapes) {
    if (shape.channels != kernels::kPixelChannels) continue;
    Layer layer = MakeLayer(shape);
    std::vector<uint8_t> pixels(shape.images * shape.height * shape.width * shape.channels);
    for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random_());
    const PixelScale scale = {{0.004f, 0.006f, 0.008f}, {-0.5f, 0.25f, 0.75f}};
    std::vector<float> out(shape.outputs());
    device_->PixelConvolution(TensorView(pixels.data(), DType::kU8,
                                         {shape.images, shape.height, shape.width, shape.channels}),
                              scale, *layer.prepared,
                              {.window = shape.window, .activation = kernels::Activation::kRelu},
                              layer.scratch(), OutOf(out, shape));
    ASSERT_TRUE(device_->Synchronize().ok());
    std::vector<double> expected = Expected(shape, layer, [&](int64_t i) -> double {
      return static_cast<double>(pixels[i]) * scale.scale[i % 3] + scale.offset[i % 3];
    });
    for (double& value : expected) value = std::max(value, 0.0);
    ExpectNear(out, expected);
  }
}

TEST_P(CpuConvolutionTest, AnImageDoesNotDependOnTheOthers) {
  if (GetParam() == CpuGemm::kLibTorch) GTEST_SKIP() << "LibTorch chooses by the number of rows";
  Shape shape = {{3, 1, 1}, 5, 9, 9, 6, 20};
  Layer layer = MakeLayer(shape);
  const std::vector<float> x = Random(shape.images * shape.height * shape.width * shape.channels);
  std::vector<float> together(shape.outputs());
  device_->Convolution(MapOf(x, shape), *layer.prepared, {.window = shape.window}, {},
                       layer.scratch(), OutOf(together, shape));
  const int64_t in = shape.height * shape.width * shape.channels;
  const int64_t out = shape.outputs() / shape.images;
  for (int64_t i = 0; i < 5; ++i) {
    shape.images = 1;
    const std::vector<float> one(x.begin() + i * in, x.begin() + (i + 1) * in);
    std::vector<float> alone(out);
    device_->Convolution(MapOf(one, shape), *layer.prepared, {.window = shape.window}, {},
                         layer.scratch(), OutOf(alone, shape));
    EXPECT_EQ(alone,
              std::vector<float>(together.begin() + i * out, together.begin() + (i + 1) * out));
  }
  ASSERT_TRUE(device_->Synchronize().ok());
}

TEST_P(CpuConvolutionTest, MaxPoolTakesTheLargest) {
  const std::vector<float> x = {1, -1, 5, -2, 3, -3, 0, -4};
  std::vector<float> out(4);
  device_->MaxPool(TensorView(const_cast<float*>(x.data()), DType::kF32, {1, 2, 2, 2}),
                   {.size = 2, .stride = 1, .padding = 0},
                   TensorView(out.data(), DType::kF32, {1, 1, 1, 2}));
  ASSERT_TRUE(device_->Synchronize().ok());
  EXPECT_THAT(std::vector<float>(out.begin(), out.begin() + 2), testing::ElementsAre(5, -1));
}

TEST_P(CpuConvolutionTest, ReportsAWindowThatDoesNotFit) {
  const Shape shape = {{3, 1, 1}, 1, 4, 4, 2, 2};
  Layer layer = MakeLayer(shape);
  const std::vector<float> x(32), out(32);
  device_->Convolution(MapOf(x, shape), *layer.prepared, {.window = {3, 1, 3}}, {}, layer.scratch(),
                       OutOf(out, shape));
  EXPECT_THAT(std::string(device_->Synchronize().message()), HasSubstr("Convolution: bad shape"));
}

}  // namespace
}  // namespace contextpool::engine
