// The parsers behind ParseImageFile, one for each format.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/preprocess/image_file.h"

namespace contextpool::engine {

// These fill what the format has of `image`, whose `format` is set. REQUIRES: `file` begins with
// the format's first bytes, and is as short as the limits want.
absl::Status ParseJpeg(absl::string_view file, const ImageLimits& limits, ImageFile& image);
absl::Status ParsePng(absl::string_view file, const ImageLimits& limits, ImageFile& image);
absl::Status ParseWebp(absl::string_view file, const ImageLimits& limits, ImageFile& image);

// Takes the size over from a header, or refuses it.
absl::Status SetImageSize(uint32_t width, uint32_t height, const ImageLimits& limits,
                          ImageFile& image);

template <typename... Parts>
absl::Status BadImage(const ImageFile& image, const Parts&... problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("the ", ImageFormatName(image.format), " file ", problem...));
}

// Adds a part, joined to the last one where it follows that in the file. REQUIRES: not empty.
void KeepPart(absl::string_view part, ImageFile& image);

}  // namespace contextpool::engine
