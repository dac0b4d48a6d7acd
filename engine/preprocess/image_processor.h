// Image file -> the pixels that a model reads, as transformers' Pillow image processors make them.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/base/image_config.h"

namespace contextpool::engine {

// What the header of a file says.
struct ImageFacts {
  // The size as it is stored: the picture may still have to be turned.
  ImageSize stored;
  // By EXIF or XMP, from 1 (upright) to 8.
  int32_t orientation = 1;
  // The part of the upright image that the model sees.
  ImageBox seen;
};

// Immutable after construction, so every thread may use one at the same time.
//
// Memory: while it works, a thread needs from 3 to 11 bytes for each pixel of the file, as
// docs/images.md lists them by format. From one image to the next it keeps at most 64 MiB.
class ImageProcessor {
 public:
  // REQUIRES: `config` as ParseImageConfig makes it.
  explicit ImageProcessor(const ImageConfig& config) : config_(config) {}

  // Bytes of the result.
  size_t pixel_bytes() const { return size_t{3} * config_.size.height * config_.size.width; }

  // Decodes `file`, turns it upright, resizes and crops it, and writes `pixels` [height, width, 3]
  // in RGB. The values of PNG and lossless WebP files are those of Pillow to the last bit; what
  // remains, rescaling and normalising, is the first kernel of a model.
  // `facts`, if any, are set as soon as the file's header has been read, even if decoding then
  // fails.
  // INVALID_ARGUMENT says what is wrong with the file (engine/base/image_fault.h);
  // RESOURCE_EXHAUSTED: not enough memory. REQUIRES: pixels.size() == pixel_bytes().
  absl::Status Prepare(absl::string_view file, const ImageLimits& limits, std::span<uint8_t> pixels,
                       ImageFacts* facts = nullptr) const;

 private:
  const ImageConfig config_;
};

}  // namespace contextpool::engine
