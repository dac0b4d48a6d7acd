// Number formats of embeddings on the wire.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "contextpool/v1/embedding.pb.h"

namespace contextpool::server {

// Writes one vector as `encoding` (UNSPECIFIED: FLOAT32). INVALID_ARGUMENT: a value does not fit
// the format. REQUIRES: the values are finite.
absl::Status EncodeVector(std::span<const float> values, v1::EmbeddingEncoding encoding,
                          v1::Embedding& embedding);

}  // namespace contextpool::server
