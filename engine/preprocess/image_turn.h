// Turning and mirroring whole pictures.
#pragma once

#include "engine/preprocess/image_buffer.h"

namespace contextpool::engine {

// Writes to `upright` what a picture with this EXIF orientation shows, as Pillow's
// ImageOps.exif_transpose does. REQUIRES: `orientation` from 1 to 8.
void TurnUpright(const Pixels& stored, int orientation, Pixels& upright);

}  // namespace contextpool::engine
