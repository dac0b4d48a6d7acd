// JPEG file -> pixels, with libjpeg-turbo.
#pragma once

#include "absl/status/status.h"
#include "engine/preprocess/image_buffer.h"
#include "engine/preprocess/image_file.h"

namespace contextpool::engine {

// Fills `pixels` with the picture as it is stored, in RGB. Grey is repeated in all channels and
// CMYK converted as Pillow's convert("RGB") does it; all values are Pillow's where that has the
// same libjpeg-turbo. Like Pillow it shows what there is of coded data that is damaged or ends
// early where the file's structure is whole. Prints nothing. Besides `pixels` it needs two bytes
// for each sample unless the file is baseline with all components in one scan. INVALID_ARGUMENT:
// libjpeg-turbo does not accept the file. RESOURCE_EXHAUSTED: it got no memory. Throws
// std::bad_alloc where there is none for `pixels`, which are undefined after all of these.
// REQUIRES: `image` as ParseImageFile makes it of a JPEG.
absl::Status DecodeJpeg(const ImageFile& image, Pixels& pixels);

}  // namespace contextpool::engine
