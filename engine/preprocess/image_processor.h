// Image file -> the pixels that a model reads, as transformers' Pillow image processors make them.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/base/image_config.h"
#include "engine/preprocess/image_file.h"

namespace contextpool::engine {

// What a file turned out to hold.
struct ImageFacts {
  ImageFormat format = ImageFormat::kJpeg;
  // As stored, in pixels.
  int32_t width = 0;
  int32_t height = 0;
};

// Immutable after construction, so every thread may use one at the same time. A thread keeps some
// MiB of memory from one call to the next.
class ImageProcessor {
 public:
  // REQUIRES: `config` as ParseImageConfig makes it.
  explicit ImageProcessor(const ImageConfig& config) : config_(config) {}

  // Bytes of the result.
  size_t pixel_bytes() const { return size_t{3} * config_.size.height * config_.size.width; }

  // Decodes `file`, turns it upright, resizes and crops it, and writes `pixels` [height, width, 3]
  // in RGB. The values of PNG and lossless WebP files are those of Pillow to the last bit; what
  // remains, rescaling and normalising, is the first kernel of a model.
  // `facts`, if any, is set as soon as the header has been read, even if decoding then fails.
  // INVALID_ARGUMENT says what is wrong with the file; RESOURCE_EXHAUSTED: not enough memory.
  // Memory: from three to twelve bytes for each pixel of the file, as its format and coding need.
  // REQUIRES: pixels.size() == pixel_bytes().
  absl::Status Prepare(absl::string_view file, const ImageLimits& limits, std::span<uint8_t> pixels,
                       ImageFacts* facts = nullptr) const;

 private:
  const ImageConfig config_;
};

}  // namespace contextpool::engine
