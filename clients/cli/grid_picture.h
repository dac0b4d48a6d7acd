// What ContextPool chose for an image, as a picture for people.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "contextpool/v1/types.pb.h"

namespace contextpool::cli {

// A PNG file: what the model saw of the image, stretched to the grid's shape, and beside it one
// panel per layer, in rows where they are many. Each panel shows the same again, faded, with a dot
// on every token of the grid and a circle around it. The radius is the token's support size, drawn
// to scale; colour and fill are its weight as a share of the layer's largest. A cell of the grid is
// at least 24 pixels wide.
//
// `image`: the bytes of the file that the reply explains.
//
// INTERNAL: the reply is malformed, see GridLayers and ReadSeenImage. INVALID_ARGUMENT: the image
// cannot be decoded, or the picture would be too large.
absl::StatusOr<std::string> DrawPicture(absl::string_view image,
                                        const v1::Explanation& explanation);

}  // namespace contextpool::cli
