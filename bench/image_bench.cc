// Times of preparing images, for image.py.
//
//   image_bench resize WIDTH HEIGHT NEW_WIDTH NEW_HEIGHT FILTER REPETITIONS < PIXELS
//     prints the seconds of each repetition: our resizing, and normalising to float32.
//   image_bench file SIDE REPETITIONS < IMAGE_FILE
//     prints for each repetition the seconds from the file to a tensor of SIDE x SIDE pixels: ours;
//     OpenCV's decoder with its bilinear resizing (which does not antialias); with its area
//     resizing; and OpenCV's decoder alone. All reuse their memory and run on one thread.
//
// Tensors are normalised by the kernel with which a ViT with patches of 16 x 16 begins, for OpenCV
// too, whose blue and red change places by the kernel's scales. REQUIRES: sizes that 16 divides.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/preprocess/image_processor.h"
#include "engine/preprocess/image_resample.h"
#include "kernels/cpu_stream.h"
#include "kernels/im2col.h"

namespace contextpool::engine {
namespace {

std::string ReadAll() {
  std::string all;
  char buffer[1 << 16];
  while (const size_t size = std::fread(buffer, 1, sizeof(buffer), stdin)) all.append(buffer, size);
  return all;
}

double Seconds(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

enum class Order : uint8_t { kRgb, kBgr };

// [height, width, 3] -> [patches, 16 * 16 * 3].
void Normalise(const uint8_t* pixels, const ImageSize& size, Order order, std::vector<float>& out) {
  ImageConfig config;
  config.mean = {0.485, 0.456, 0.406};
  config.std = {0.229, 0.224, 0.225};
  kernels::Im2ColParams params = {.pixels = pixels,
                                  .scale = config.scale(),
                                  .offset = config.offset(),
                                  .window = {.size = 16, .stride = 16},
                                  .height = size.height,
                                  .width = size.width,
                                  .channels = 3,
                                  .rows = int64_t{size.height / 16} * (size.width / 16)};
  if (order == Order::kBgr) {
    std::swap(params.scale[0], params.scale[2]);
    std::swap(params.offset[0], params.offset[2]);
  }
  out.resize(size_t{3} * size.height * size.width);
  params.out = out.data();
  kernels::CpuStream stream(kernels::BestIsa());
  if (kernels::cpu::Im2Col(params, &stream) != kernels::Status::kOk) std::abort();
}

int Resize(char** argv) {
  Pixels source;
  const std::string bytes = ReadAll();
  source.Resize(std::atoi(argv[0]), std::atoi(argv[1]));
  if (bytes.size() != source.bytes.size()) return 1;
  std::memcpy(source.bytes.data(), bytes.data(), bytes.size());
  const ImageSize size = {std::atoi(argv[3]), std::atoi(argv[2])};
  const ResamplePlan plan = {
      .filter = static_cast<Resample>(std::atoi(argv[4])), .resized = size, .window = size};
  Resampler resampler;
  std::vector<uint8_t> pixels(size_t{3} * size.width * size.height);
  std::vector<float> values;
  for (int i = std::atoi(argv[5]); i > 0; --i) {
    std::printf("%.7f ", Seconds([&] {
                  resampler.Resample(source, plan, pixels.data(), size_t{3} * size.width);
                  Normalise(pixels.data(), size, Order::kRgb, values);
                }));
  }
  return 0;
}

int File(char** argv) {
  const std::string file = ReadAll();
  const int32_t side = std::atoi(argv[0]);
  ImageConfig config;
  config.size = config.resize = {side, side};
  const ImageProcessor processor(config);
  std::vector<uint8_t> pixels(processor.pixel_bytes());
  std::vector<float> values;
  cv::setNumThreads(1);
  const cv::Mat input(1, static_cast<int>(file.size()), CV_8UC1, const_cast<char*>(file.data()));
  // Each contender has memory of its own, which the others' work drives out of the caches.
  struct Contender {
    int filter;
    cv::Mat decoded, resized;
  };
  Contender linear = {cv::INTER_LINEAR, {}, {}}, area = {cv::INTER_AREA, {}, {}};
  cv::Mat only_decoded;
  const auto run = [&](Contender& contender) {
    cv::imdecode(input, cv::IMREAD_COLOR, &contender.decoded);
    cv::resize(contender.decoded, contender.resized, {side, side}, 0, 0, contender.filter);
    Normalise(contender.resized.data, config.size, Order::kBgr, values);
  };
  for (int i = std::atoi(argv[1]); i > 0; --i) {
    const double ours = Seconds([&] {
      if (!processor.Prepare(file, {}, std::span(pixels)).ok()) std::exit(1);
      Normalise(pixels.data(), config.size, Order::kRgb, values);
    });
    const double by_linear = Seconds([&] { run(linear); });
    const double by_area = Seconds([&] { run(area); });
    const double decoding = Seconds([&] { cv::imdecode(input, cv::IMREAD_COLOR, &only_decoded); });
    std::printf("%.7f %.7f %.7f %.7f\n", ours, by_linear, by_area, decoding);
  }
  return 0;
}

}  // namespace
}  // namespace contextpool::engine

int main(int argc, char** argv) {
  if (argc == 8 && std::strcmp(argv[1], "resize") == 0) {
    return contextpool::engine::Resize(argv + 2);
  }
  if (argc == 4 && std::strcmp(argv[1], "file") == 0) return contextpool::engine::File(argv + 2);
  return 2;
}
