// What an image file says of itself, read before any decoder sees it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/image_config.h"

namespace contextpool::engine {

enum class ImageFormat : uint8_t { kJpeg, kPng, kWebp };

// For messages and metrics: "JPEG", "PNG", "WebP".
absl::string_view ImageFormatName(ImageFormat format);

// Of either side, in pixels: as much as a JPEG can have.
inline constexpr int32_t kMaxImageSide = 65535;

// The views point into the file.
struct ImageFile {
  ImageFormat format = ImageFormat::kJpeg;
  // Of the picture, in pixels, as stored: `orientation` is still to be applied.
  int32_t width = 0;
  int32_t height = 0;
  // EXIF's tag 0x0112, from 1 (as it is) to 8; from XMP where EXIF does not have it.
  int orientation = 1;
  // A PNG with one channel of 16 bits.
  bool is_grey16 = false;

  // Where the coded pixels lie in the picture. The whole of it, but for animations' first frame.
  struct Frame {
    int32_t left = 0;
    int32_t top = 0;
    int32_t width = 0;
    int32_t height = 0;
  };
  Frame frame;

  // A complete file of the frame, when joined: `head` (of WebP only) and then `parts`, none of them
  // empty. Without what pixels do not depend on, such as metadata, colour profiles and later
  // frames, so that no decoder parses that.
  std::string head;
  std::vector<absl::string_view> parts;

  size_t size_bytes() const;
};

// Recognises the format by its first bytes and walks through the file's structure. Works in time
// linear in its size and allocates nothing by what it claims.
// INVALID_ARGUMENT: larger than the limits allow, no JPEG, PNG or WebP, zero sizes, malformed,
// truncated or with too little data for its pixels, and kinds of coding that are not decoded here
// (lossless, hierarchical or arithmetic JPEG, 12-bit JPEG).
absl::StatusOr<ImageFile> ParseImageFile(absl::string_view file, const ImageLimits& limits);

}  // namespace contextpool::engine
