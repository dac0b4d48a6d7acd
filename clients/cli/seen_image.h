// The part of an image that a model saw.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "contextpool/v1/types.pb.h"

namespace contextpool::cli {

// All of the image: where the explanation says so, or says nothing, as those of older servers.
bool SeesAll(const v1::Explanation& explanation);

// What lies in the explanation's grid_box on the upright image, stretched to [height, width, 3] in
// BGR, with black where there is no image. Shrinking averages; enlarging by four times or more
// shows pixels as squares.
//
// `file`: the bytes of the image's file, decoded by OpenCV: it reads no animated WebP, and its
// colours of CMYK and of grey of 16 bits are its own. May throw cv::Exception.
//
// INTERNAL: grid_box is no box. INVALID_ARGUMENT: the image cannot be decoded.
absl::StatusOr<std::vector<uint8_t>> ReadSeenImage(absl::string_view file,
                                                   const v1::Explanation& explanation, int height,
                                                   int width);

}  // namespace contextpool::cli
