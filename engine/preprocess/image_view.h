// Where the pixels that a model reads lie on an image.
#pragma once

#include <cstdint>

#include "engine/base/image_config.h"

namespace contextpool::engine {

struct ImageView {
  // The whole image once it is resized.
  ImageSize resized;
  // Where what the model reads begins on it; below 0 where it is padded.
  int32_t left = 0;
  int32_t top = 0;

  friend bool operator==(const ImageView&, const ImageView&) = default;
};

// On an image of this size that stands upright. As get_resize_output_image_size and then
// center_crop of transformers' image_transforms.py. REQUIRES: `config` as ParseImageConfig makes
// it; both sides are above 0.
ImageView ViewOf(const ImageConfig& config, const ImageSize& upright);

// The same in shares of the image.
ImageBox BoxOf(const ImageConfig& config, const ImageView& view);

}  // namespace contextpool::engine
