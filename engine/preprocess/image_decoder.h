// Image file -> pixels, with libjpeg-turbo and, for PNG and WebP, OpenCV's decoders.
#pragma once

#include "absl/status/status.h"
#include "engine/preprocess/image_buffer.h"
#include "engine/preprocess/image_file.h"

namespace contextpool::engine {

// Memory that one call leaves to the next.
struct DecodeScratch {
  ByteBuffer file;
  Pixels pixels;
};

// Fills `pixels` with the picture, upright, in RGB. Grey is repeated in all channels, palettes are
// looked up, CMYK is converted, transparency is dropped and 16-bit samples are cut, all as Pillow's
// convert("RGB") does; of an animation the first frame stands on a black canvas. The same file
// gives the same pixels, whatever the buffers held. INVALID_ARGUMENT: the decoder does not accept
// the file. RESOURCE_EXHAUSTED: there is not enough memory for it. `pixels` is then undefined.
absl::Status DecodeImage(const ImageFile& image, DecodeScratch& scratch, Pixels& pixels);

}  // namespace contextpool::engine
