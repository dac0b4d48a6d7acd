// How large a reply will be, before anything is done for it.
#pragma once

#include <cstdint>

#include "contextpool/v1/classification.pb.h"
#include "contextpool/v1/embedding.pb.h"
#include "engine/base/model_info.h"
#include "engine/base/request.h"

namespace contextpool::server {

// Bytes of memory that the reply to `request`, decoded from `message`, takes at most if no input
// fails: as the engine's numbers or on the wire, whichever is more. Errors of inputs are longer
// than the results of a narrow model.
int64_t ReplyBytes(const v1::EmbedRequest& message, const engine::Request& request,
                   const engine::ModelInfo& model);
int64_t ReplyBytes(const v1::ClassifyRequest& message, const engine::Request& request,
                   const engine::ModelInfo& model);

}  // namespace contextpool::server
