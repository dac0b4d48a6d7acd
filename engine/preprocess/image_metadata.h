// How a picture is to be turned, from the metadata that cameras and editors write.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"
#include "engine/preprocess/image_file.h"

namespace contextpool::engine {

// The two places that Pillow's ImageOps.exif_transpose looks at; EXIF's wins.
struct OrientationTags {
  std::optional<int> exif;
  std::optional<int> xmp;

  int value() const { return exif.value_or(xmp.value_or(1)); }
};

// What stands before the EXIF block of a JPEG's segment.
inline constexpr absl::string_view kExifHeader("Exif\0\0", 6);

// The tag 0x0112 of an EXIF block, with or without kExifHeader before it; unset where it is absent,
// is no integer, or the block is malformed.
std::optional<int> ExifOrientation(absl::string_view exif);

// tiff:Orientation of an XMP document, as attribute or element.
std::optional<int> XmpOrientation(absl::string_view xmp);

}  // namespace contextpool::engine
