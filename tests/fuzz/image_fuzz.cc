// Any bytes as an image file, for a few configurations: the last byte, which formats ignore or
// hardly need, chooses.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <span>
#include <vector>

#include "engine/preprocess/image_processor.h"

namespace contextpool::engine {
namespace {

void Check(bool condition) {
  if (!condition) std::abort();
}

// Large images are slow and show nothing new.
constexpr ImageLimits kLimits = {.max_bytes = 1 << 16, .max_pixels = 1 << 18};

ImageConfig Config(uint8_t choice) {
  ImageConfig config;
  config.size = {24, 20};
  config.resample = static_cast<Resample>(choice % 6);
  config.center_crop = (choice & 64) != 0;
  // Neither: a model that takes images of its size only.
  const bool resizes = (choice & 128) == 0;
  if (resizes && config.center_crop) config.shortest_edge = 1 + choice % 32;
  if (resizes && !config.center_crop) config.resize = config.size;
  return config;
}

void FuzzOne(const uint8_t* data, size_t size) {
  if (size < 1) return;
  const ImageProcessor processor(Config(data[size - 1]));
  const absl::string_view file(reinterpret_cast<const char*>(data), size);
  std::vector<uint8_t> first(processor.pixel_bytes(), 0), second(processor.pixel_bytes(), 255);
  ImageFacts facts;
  const absl::Status status = processor.Prepare(file, kLimits, std::span(first), &facts);
  if (!status.ok()) {
    Check(status.code() == absl::StatusCode::kInvalidArgument && !status.message().empty());
    return;
  }
  const ImageSize& stored = facts.stored;
  Check(stored.width > 0 && stored.height > 0);
  Check(int64_t{stored.width} * stored.height <= kLimits.max_pixels);
  Check(facts.orientation >= 1 && facts.orientation <= 8);
  Check(facts.seen.width > 0 && facts.seen.height > 0);
  Check(processor.Prepare(file, kLimits, std::span(second)).ok());
  Check(first == second);
}

}  // namespace
}  // namespace contextpool::engine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  contextpool::engine::FuzzOne(data, size);
  return 0;
}
